"""A Slurm of this machine alone, started for the tests that want one: munged, slurmctld and slurmd on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _wait_for(what: str, true, seconds: float, logs: list[Path]) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            ends = "\n".join(f"{log}:\n{log.read_text()[-1500:]}" for log in logs if log.exists())
            pytest.skip(f"Slurm does not start here: {what} not after {seconds} s\n{ends}")
        time.sleep(0.1)


def _is_idle(environment: dict[str, str]) -> bool:
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True)
    return "idle" in done.stdout.split()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The environment of Slurm's commands, for a cluster of one node with 4 cores; skips, and says why, without one."""
    missing = [name for name in PROGRAMS if _find(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: install Debian's slurm-wlm and munge")
    root = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool", "munge"):
        (root / name).mkdir(mode=0o700)
    user, host = pwd.getpwuid(os.getuid()).pw_name, socket.gethostname().split(".")[0]
    controller, node = _free_ports(2)
    key, munge_socket, conf = root / "munge/key", root / "munge/socket", root / "slurm.conf"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    conf.write_text(f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={munge_socket}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    daemons: list[subprocess.Popen] = []

    def start(name: str, *options: str) -> None:
        out = open(root / f"{name}.out", "w")  # noqa: SIM115
        words = [_find(name), *options]
        daemons.append(subprocess.Popen(words, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL))

    munge_files = [f"--{name}-file={root}/munge/{name}" for name in ("pid", "log", "seed")]
    try:
        start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge_socket}", *munge_files)
        _wait_for("munged", munge_socket.exists, 10, [root / "munged.out"])
        start("slurmctld", "-D")
        start("slurmd", "-D")
        logs = [root / f"{name}.{end}" for name in ("slurmctld", "slurmd") for end in ("log", "out")]
        _wait_for("an idle node", lambda: _is_idle(environment), 30, logs)
        yield environment
    finally:
        if len(daemons) > 1:
            subprocess.run(["scancel", f"--user={user}"], env=environment, capture_output=True, timeout=20)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
