# shellcheck disable=SC2034  # run.sh's
# How the recipe's commands are run: "$cpu_cmd LOG COMMAND...", "$train_cmd LOG COMMAND..." for what trains, and
# "$extract_cmd JOB=1:NJ LOG COMMAND..." for job arrays (--nj), which --cmd sets too. "run" (utils/log.sh) is this
# machine: one command after another, shown as it runs, and job arrays by run_local.sh.
# The interface is that of Kaldi's run.pl, queue.pl and slurm.pl: any of them may stand here, or svtk's own
# run_local.sh, run_sge.sh and run_slurm.sh, with options that fit your machines:
#
#   cpu_cmd="run_slurm.sh --mem 4G"
#   train_cmd="run_slurm.sh --mem 16G --gpu 1 --num-threads 4 --time 2-0"
#   extract_cmd="run_slurm.sh --mem 4G --max-jobs-run 40"
#
# conf/slurm.conf or conf/queue.conf here, in Kaldi's format, says how a cluster wants to be asked for these.
cpu_cmd=run
train_cmd=run
extract_cmd=run
