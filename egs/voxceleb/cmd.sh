# How the recipe's commands are run: "$train_cmd LOG COMMAND..." for what trains or wants a GPU, "$cpu_cmd LOG
# COMMAND..." for the rest. "run" (utils/log.sh) runs them here, one after another. The interface is that of Kaldi's
# run.pl, so a runner of that kind can stand in its place.
train_cmd=run
cpu_cmd=run
