#!/usr/bin/env bash
# Run one command as several processes that train together, by torchrun: one for each GPU of each machine.
#
# On several machines the processes meet at one of them. In a Slurm job of that many nodes, srun starts them everywhere
# and they meet at the first node; elsewhere, start the same command on every machine with the same --master.
set -euo pipefail
help_message="usage: $0 [options] COMMAND...
examples:
  $0 --ngpu 4 svtk distill --device cuda ... exp/sv_mixer
  salloc --nodes 2 --gpus-per-node 4 $0 --ngpu 4 --num-nodes 2 svtk distill --device cuda ... exp/sv_mixer"
ngpu=1       # processes on each machine
num_nodes=1  # machines
master=      # HOST:PORT of one of them, where they meet [in Slurm: the first node]
_root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
. "$_root/utils/parse_options.sh"
. "$_root/utils/log.sh"
command -v svtk > /dev/null || PATH=$_root/bin:$PATH

[ $# -ge 1 ] || _options_error "found no command"
[[ $ngpu =~ ^[1-9][0-9]*$ && $num_nodes =~ ^[1-9][0-9]*$ ]] \
  || _options_error "--ngpu and --num-nodes are whole numbers of at least 1"
python=${SVTK_PYTHON:-$_root/.venv/bin/python}
[ -n "${SVTK_PYTHON:-}" ] || [ -x "$python" ] || python=python3

everywhere=() meeting=(--standalone)
if [ "$num_nodes" -gt 1 ]; then
  if [ -z "$master" ]; then
    [ -n "${SLURM_JOB_ID:-}" ] \
      || die "several machines need a Slurm job, or --master HOST:PORT. To mend: sbatch or salloc --nodes $num_nodes"
    nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")  # whole: cut short by head, it may end by SIGPIPE
    master=${nodes%%$'\n'*}:$((20000 + SLURM_JOB_ID % 10000))
    everywhere=(srun --nodes "$num_nodes" --ntasks "$num_nodes" --ntasks-per-node 1 --kill-on-bad-exit=1)
    [ -z "${SLURM_CPUS_PER_TASK:-}" ] || everywhere+=(--cpus-per-task "$SLURM_CPUS_PER_TASK")
  fi
  meeting=(--nnodes "$num_nodes" --rdzv-backend c10d --rdzv-endpoint "$master" --rdzv-id "${SLURM_JOB_ID:-svtk}")
fi
exec "${everywhere[@]}" "$python" -m torch.distributed.run "${meeting[@]}" --nproc-per-node "$ngpu" --no-python "$@"
