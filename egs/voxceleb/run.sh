#!/usr/bin/env bash
# From recordings to a table of error rates, in numbered stages. Each stage is one or a few svtk commands, shown before
# they run and logged under EXP/log; it reads files only, so that it can be run alone: --stage 7 --stop-stage 7.
# What is there and whole already is not made again: after a kill, the same command goes on where it stopped.
set -euo pipefail
_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$_here/path.sh"
. "$_here/cmd.sh"
. "$SVTK_ROOT/utils/log.sh"

help_message="usage: $0 [options]
examples:
  $0 --corpus demo
  $0 --corpus folder --corpus-dir corpora/mine --teacher models/whisper-base-encoder
  $0 --corpus voxceleb --vox1 /db/voxceleb1 --vox2 /db/voxceleb2 --teacher microsoft/wavlm-large --device cuda"

stage=0            # first stage to run
stop_stage=10      # last stage to run
corpus=demo        # demo (synthetic, made here), folder (ROOT/train/SPK/UTT.ext and ROOT/test/...) or voxceleb
corpus_dir=        # folder: ROOT; demo: where to make the corpus [data/demo/corpus]
vox1=              # voxceleb, and the sets voxsrc22 and vcmix: VoxCeleb1 as distributed (dev and test)
vox2=              # voxceleb: VoxCeleb2 as distributed (dev)
trials_dir=        # voxceleb: folder with the official trial lists, cleaned versions [in --vox1]
eval_sets=         # further evaluation sets, "voxsrc23=DIR vcmix=DIR": voxsrc22 voxsrc23 vcmix voices_dev voices_eval
musan=             # noise, as MUSAN or a flat folder [demo: the corpus' own; folder: ROOT/../noise or ROOT/noise]
rirs=              # room impulse responses [demo: the corpus' own; folder: ROOT/../rirs or ROOT/rirs]
teacher=           # pretrained encoder: a directory, a hub name, conf/teacher_*.yaml [none: a small one is trained from scratch]
student="sv_mixer transformer"  # students to distill, one system each
backend=linear     # a further backend for the first student, frozen (none: no such system)
vad=none           # speech activity: energy, kaldi or silero; training and embeddings then hear speech only
score_norm=none    # as-norm: scores normalised by the training speakers' mean embeddings, too, in a row of their own
calibrate=false    # log-likelihood ratios beside all scores, by a calibration trained on the validation trials
lmft=false         # large-margin fine-tuning of each student, one further system each
num_valid_spks=    # speakers held out of training for validation [demo 8, folder 12, voxceleb 40]
num_valid_trials=  # validation trials, drawn in balance [voxceleb 20000; demo, folder: all pairs]
cache_targets=auto # teacher targets: cached on disk (true) or computed while training (false) [voxceleb false]
targets_max_gib=   # cache only as many as fit into so much disk; the others are computed while training
shards=false       # training audio as tar files that are read from front to back (true), for slow disks: as much room again
export=true        # the first student as ONNX, float32 and int8, and the speed of all systems (false: neither)
seed=0             # seed of every random choice
device=cpu         # cpu, cuda, cuda:1 ...
ngpu=1             # GPUs that train together, on each machine (--device cuda)
num_nodes=1        # machines of them: run this in a Slurm job of as many nodes
nj=                # jobs that extract teacher targets and embeddings [cpu: one for each core, up to 8; cuda: 1]
cmd=$extract_cmd   # what runs them, as in cmd.sh: "run_slurm.sh --mem 4G" ...
num_threads=1      # CPU threads of each of them
conf_dir=          # where the configurations are [conf of the checkout]
data=              # data directories [egs/voxceleb/data/CORPUS]
exp=               # the experiment [egs/voxceleb/exp/CORPUS]
corpus_opts=       # further options of the verb that makes or prepares the corpus, as "--skip-bad"
. "$SVTK_ROOT/utils/parse_options.sh"

[ $# -eq 0 ] || _options_error "found '$1', expected options only"
[[ $stage =~ ^[0-9]+$ && $stop_stage =~ ^[0-9]+$ ]] || _options_error "--stage and --stop-stage are whole numbers"
[ -n "${student// /}" ] || _options_error "--student needs at least one name"
case $corpus in
  demo) defaults=(8 true "") ;;
  folder) defaults=(12 true "") ;;
  voxceleb) defaults=(40 false 20000) ;;
  *) _options_error "no corpus '$corpus'; expected demo, folder or voxceleb" ;;
esac
if [ -z "$nj" ]; then
  nj=1
  [ "$device" != cpu ] || nj=$(env -u OMP_NUM_THREADS nproc)
  [ "$nj" -le 8 ] || nj=8
fi
[[ $nj =~ ^[1-9][0-9]*$ && $num_threads =~ ^[1-9][0-9]*$ ]] || _options_error "--nj and --num-threads are whole numbers of at least 1"
[[ $ngpu =~ ^[1-9][0-9]*$ && $num_nodes =~ ^[1-9][0-9]*$ ]] || _options_error "--ngpu and --num-nodes are whole numbers of at least 1"
[[ $vad =~ ^(none|energy|kaldi|silero)$ ]] || _options_error "--vad: found '$vad', expected none, energy, kaldi or silero"
[[ $score_norm =~ ^(none|as-norm)$ ]] || _options_error "--score-norm: found '$score_norm', expected none or as-norm"
read -ra students <<< "$student"
read -ra corpus_words <<< "$corpus_opts"
read -ra eval_words <<< "$eval_sets"
eval_names="voxsrc22 voxsrc23 vcmix voices_dev voices_eval"
for word in "${eval_words[@]}"; do
  [[ $word == *=?* && " $eval_names " == *" ${word%%=*} "* ]] \
    || _options_error "--eval-sets: found '$word', expected NAME=DIR with NAME one of $eval_names"
done
num_valid_spks=${num_valid_spks:-${defaults[0]}}
num_valid_trials=${num_valid_trials:-${defaults[2]}}
[[ $targets_max_gib =~ ^([0-9]+(\.[0-9]+)?)?$ ]] || _options_error "--targets-max-gib: found '$targets_max_gib', expected a number"
[ "$cache_targets" != auto ] || cache_targets=${targets_max_gib:+true}
cache_targets=${cache_targets:-${defaults[1]}}

# Paths are the caller's; the work is done in the recipe's directory.
_caller=$PWD
for name in corpus_dir vox1 vox2 trials_dir musan rirs conf_dir data exp; do
  [ -z "${!name}" ] || printf -v "$name" '%s' "$(realpath -m --relative-base="$_here" -- "${!name}")"
done
for i in "${!eval_words[@]}"; do
  dir=${eval_words[i]#*=}
  [ -d "$dir" ] || die "--eval-sets: $dir: no such directory"
  eval_words[i]=${eval_words[i]%%=*}=$(realpath -- "$dir")
done
if [ -e "$teacher" ]; then
  teacher=$(realpath --relative-base="$_here" -- "$teacher")
elif [[ $teacher == [./]* ]]; then
  die "--teacher $teacher: no such directory or file"
fi
cd "$_here"
conf_dir=${conf_dir:-../../conf}
data=${data:-data/$corpus}
exp=${exp:-exp/$corpus}
[ "$corpus" != demo ] || corpus_dir=${corpus_dir:-$data/corpus}

# True when stage $1 is to be run.
runs() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }

# The same; says what it does and what it reads and writes.
stage() {
  runs "$1" || return 1
  log "stage $1: $2"
}

# True, and said, when all files are there. Training is not asked about: its verbs know whether they are done.
have() {
  local file
  for file in "$@"; do [ -s "$file" ] || return 1; done
  log "already there: $1 (remove it to make it again)"
}

# True, and said, when the first file is there and none of the others is newer.
fresh() {
  local out=$1 file
  shift
  [ -s "$out" ] || return 1
  for file in "$@"; do [ ! "$file" -nt "$out" ] || return 1; done
  log "already there: $out"
}

# need N FILE...: what an earlier stage N should have made.
need() {
  local made_by=$1 file
  shift
  for file in "$@"; do
    [ -s "$file" ] || die "$file is missing. To mend: run stage $made_by first (--stage $made_by)"
  done
}

# The file of configuration $1 for this corpus. The paper's own, which have no corpus in their names, are for VoxCeleb:
# on a small corpus they would train for days.
conf() {
  local file=$conf_dir/${corpus}_$1.yaml
  [ -f "$file" ] || [ "$corpus" != voxceleb ] || file=$conf_dir/$1.yaml
  [ -f "$file" ] || die "$file: no such configuration. To mend: write it, or name another folder with --conf-dir"
  echo "$file"
}

# The files that make model $1 what it is, separated by commas.
model_files() {
  local files=()
  for file in "$1"/{config.yaml,model.safetensors} "$1"/encoder/*.safetensors; do [ ! -f "$file" ] || files+=("$file"); done
  (IFS=, && echo "${files[*]}")
}

# The systems that are compared, by the names of their directories under EXP.
systems() {
  echo teacher
  printf '%s\n' "${students[@]}"
  [ "$backend" = none ] || echo "${students[0]}_$backend"
  [ "$lmft" = false ] || printf '%s_lmft\n' "${students[@]}"
}

# The stage that makes system $1.
made_by() {
  case $1 in
    teacher) echo 4 ;;
    "${students[0]}_$backend" | *_lmft) echo 6 ;;
    *) echo 5 ;;
  esac
}

# "DATA_DIR_NAME TRIAL_LIST_NAME" of every evaluation whose trial list is there.
evaluations() {
  local name set=test names="test test_same_sex"
  [ "$corpus" != voxceleb ] || { set=vox1; names="$(printf 'vox1_%s ' {o,e,h}{,_original})"; }
  for name in $names; do [ ! -s "$data/trials/$name" ] || echo "$set $name"; done
  for name in $eval_names; do [ ! -s "$data/trials/$name" ] || echo "$name $name"; done
}

# What the names of score directories end in: plain scores, and normalised ones.
kinds=("")
[ "$score_norm" = none ] || kinds+=(_as_norm)

# "DATA_DIR_NAME TRIAL_LIST_NAME DIR" of every list that is scored, each into EXP/SYSTEM/DIR.
scored() {
  evaluations | while read -r set trials; do echo "$set $trials eval_$trials"; done
  [ "$calibrate" = false ] || echo "valid valid valid"
}

# The data directories of which embeddings are needed: of the lists, and of the cohort.
embedded() {
  { scored | cut -d ' ' -f 1; [ "$score_norm" = none ] || echo train; } | sort -u
}

# normalize_scores SYSTEM EMBEDDINGS_SCP TRIALS DIR: DIR/scores → DIR_as_norm/scores, by the means of the training speakers.
normalize_scores() {
  local cohort=$exp/$1/embeddings_train.scp from=$4/scores to=$4_as_norm/scores top_n
  need 7 "$cohort"
  top_n=$(wc -l < "$data/train/spk2utt")
  [ "$top_n" -le 300 ] || top_n=300
  mkdir -p "$4_as_norm"
  fresh "$to" "$from" "$cohort" || $cpu_cmd "$exp/log/normalize_scores_$1_$3.log" \
    svtk normalize-scores --top-n "$top_n" --cohort "scp:$cohort" --cohort-spk2utt "$data/train/spk2utt" \
    "$from" "scp:$2" "scp:$2" "$to"
}

# calibrate_scores SYSTEM KIND: trained on validKIND/scores, applied to every eval_TRIALSKIND/scores → llrs beside them;
# that of plain scores becomes the model's own, SYSTEM/calibration.json.
calibrate_scores() {
  local model=$exp/$1/valid$2/calibration trials dir
  fresh "$model" "$exp/$1/valid$2/scores" "$data/trials/valid" || $cpu_cmd "$exp/log/calibrate_$1$2.log" \
    svtk calibrate "$exp/$1/valid$2/scores" "$data/trials/valid" "$model"
  if [ -z "$2" ] && ! cmp -s "$model" "$exp/$1/calibration.json"; then  # where verify and svtk.load look for it
    cp "$model" "$exp/$1/calibration.json.part"
    mv "$exp/$1/calibration.json.part" "$exp/$1/calibration.json"
  fi
  while read -r _ trials; do
    dir=$exp/$1/eval_$trials$2
    fresh "$dir/llrs" "$dir/scores" "$model" || $cpu_cmd "$exp/log/calibrate_$1_$trials$2.log" \
      svtk calibrate --apply "$model" "$dir/scores" "$dir/llrs" < /dev/null
  done < <(evaluations)
}

if stage 0 "the corpus ($corpus → ${corpus_dir:-${vox2:-nowhere}})"; then
  case $corpus in
    demo)
      $cpu_cmd "$exp/log/make_demo_corpus.log" svtk make-demo-corpus --seed "$seed" "${corpus_words[@]}" "$corpus_dir"
      ;;
    folder)
      [ -n "$corpus_dir" ] || die "--corpus folder needs --corpus-dir ROOT"
      for split in train test; do
        [ -d "$corpus_dir/$split" ] \
          || die "$corpus_dir/$split: no such directory. To mend: lay the corpus out as ROOT/train/SPK/UTT.ext and ROOT/test/SPK/UTT.ext"
      done
      ;;
    voxceleb)
      for name in vox1 vox2; do
        [ -n "${!name}" ] || die "--corpus voxceleb needs --$name DIR. VoxCeleb is not downloaded here; its owners give access to it"
        [ -d "${!name}" ] || die "--$name ${!name}: no such directory"
      done
      [ -z "$trials_dir" ] || [ -d "$trials_dir" ] || die "--trials-dir $trials_dir: no such directory"
      ;;
  esac
fi

if stage 1 "data directories and trials (${corpus_dir:-$vox2} → $data)"; then
  if [ "$corpus" = voxceleb ]; then
    if ! compgen -G "$data/trials/vox1_*" > /dev/null || ! have "$data"/{vox2_dev,vox1}/cuts.jsonl.gz; then
      [ -n "$vox1" ] && [ -n "$vox2" ] || die "--corpus voxceleb needs --vox1 DIR and --vox2 DIR"
      $cpu_cmd "$exp/log/prepare_voxceleb.log" \
        svtk prepare-voxceleb --vox1 "$vox1" --vox2 "$vox2" ${trials_dir:+--trials-dir "$trials_dir"} "${corpus_words[@]}" "$data"
    fi
    have "$data"/{valid,train}/wav.scp \
      || $cpu_cmd "$exp/log/split_by_spk.log" split_by_spk.sh --num-spks "$num_valid_spks" "$data/vox2_dev" "$data/valid" "$data/train"
  else
    [ -n "$corpus_dir" ] || die "--corpus $corpus needs --corpus-dir ROOT"
    [ -d "$corpus_dir/train" ] && [ -d "$corpus_dir/test" ] || die "$corpus_dir has no train and test folders. To mend: run stage 0 first (--stage 0)"
    prepare=(svtk prepare-folder --seed "$seed")
    [ ! -f "$corpus_dir/speakers.tsv" ] || prepare+=(--speakers "$corpus_dir/speakers.tsv")
    [ "$corpus" != folder ] || prepare+=("${corpus_words[@]}")
    have "$data"/{train,valid}/cuts.jsonl.gz || $cpu_cmd "$exp/log/prepare_train.log" \
      "${prepare[@]}" --num-valid-spks "$num_valid_spks" --valid-dir "$data/valid" "$corpus_dir/train" "$data/train"
    have "$data/test/cuts.jsonl.gz" || $cpu_cmd "$exp/log/prepare_test.log" \
      "${prepare[@]}" "$corpus_dir/test" "$data/test"
    mkdir -p "$data/trials"
    have "$data/trials/test" || $cpu_cmd "$exp/log/make_trials_test.log" svtk make-trials "$data/test" "$data/trials/test"
    if [ -s "$data/test/spk2gender" ]; then
      have "$data/trials/test_same_sex" || $cpu_cmd "$exp/log/make_trials_test_same_sex.log" \
        svtk make-trials --same-sex "$data/test" "$data/trials/test_same_sex"
    else
      log "no same-sex trials: the speakers' sex is not known ($corpus_dir/speakers.tsv)"
    fi
  fi
  have "$data/trials/valid" || $cpu_cmd "$exp/log/make_trials_valid.log" \
    svtk make-trials ${num_valid_trials:+--num-trials "$num_valid_trials"} --seed "$seed" "$data/valid" "$data/trials/valid"
  for word in "${eval_words[@]}"; do
    name=${word%%=*}
    have "$data/trials/$name" || $cpu_cmd "$exp/log/prepare_eval_set_$name.log" \
      svtk prepare-eval-set ${vox1:+--vox1 "$vox1"} "$name" "${word#*=}" "$data"
  done
fi

if stage 2 "noise and room impulse responses (${musan:-noise}, ${rirs:-rirs} → $data/noise)"; then
  for place in "$corpus_dir" "${corpus_dir:+$corpus_dir/..}"; do
    if [ "$corpus" != voxceleb ] && [ -n "$place" ]; then
      [ -n "$musan" ] || [ ! -d "$place/noise" ] || musan=$(realpath --relative-base="$_here" "$place/noise")
      [ -n "$rirs" ] || [ ! -d "$place/rirs" ] || rirs=$(realpath --relative-base="$_here" "$place/rirs")
    fi
  done
  if [ -z "$musan$rirs" ]; then
    log "no noise and no rooms: the students are trained without them (--musan DIR, --rirs DIR)"
  else
    last=noise  # what prepare-noise writes last
    [ ! -d "$musan/speech" ] && [ ! -d "$musan/musan/speech" ] || last=speech
    [ -z "$rirs" ] || last=rirs
    have ${musan:+"$data/noise/noise/wav.scp"} "$data/noise/$last/cuts.jsonl.gz" || $cpu_cmd "$exp/log/prepare_noise.log" \
      svtk prepare-noise ${musan:+--musan "$musan"} ${rirs:+--rirs "$rirs"} "$data/noise"
  fi
fi

# Job arrays give the same for every --nj, since --num-threads is the same: it would change the last digits.
arrays=(--nj "$nj" --cmd "$cmd" --num-threads "$num_threads")

if stage 3 "speech activity: $vad ($data/DATA → $data/DATA/vad.scp)"; then
  if [ "$vad" = none ]; then
    log "none: all of each utterance is used (--vad energy, kaldi or silero)"
  else
    detector=(--detector "$vad")
    [ "$vad" != kaldi ] || detector+=(--config "$conf_dir/vad.conf")
    for set in $({ printf '%s\n' train valid && evaluations | cut -d ' ' -f 1; } | sort -u); do
      need 1 "$data/$set/wav.scp"
      to=$exp/vad/${vad}_$set
      fresh "$to.scp" "$data/$set/wav.scp" || run_jobs.sh "${arrays[@]}" --merge "$to.JOB.scp" \
        "$data/$set" "$exp/log/detect_speech_${vad}_$set.JOB.log" \
        svtk detect-speech --num-threads "$num_threads" "${detector[@]}" SPLIT "ark,scp:$to.JOB.ark,$to.JOB.scp"
      cmp -s "$to.scp" "$data/$set/vad.scp" || cp "$to.scp" "$data/$set/vad.scp"
    done
  fi
fi
hear=()
[ "$vad" = none ] || hear=(--vad)

# Training verbs resume what was killed, find what is done, and refuse a directory that holds another run.
augment=()
[ ! -d "$data/noise" ] || augment=(--noise "$data/noise")
valid=(--valid "$data/valid" --valid-trials "$data/trials/valid")
how=(--seed "$seed" --device "$device" "${hear[@]}")
train=$data/train
[ "$shards" = false ] || train=$data/train_shards
launch=()
[ "$ngpu $num_nodes" = "1 1" ] || launch=(run_distributed.sh --ngpu "$ngpu" --num-nodes "$num_nodes")

# All configurations are there, before hours are spent on the first.
if runs 4; then conf teacher > /dev/null; fi
if runs 5; then for name in "${students[@]}"; do conf "distill_$name" > /dev/null; done; fi
if runs 6; then
  [ "$backend" = none ] || conf "backend_$backend" > /dev/null
  [ "$lmft" = false ] || conf lmft > /dev/null
fi

if stage 4 "teacher (${teacher:-from scratch}, $train → $exp/teacher) and its targets (→ $exp/targets)"; then
  need 1 "$data"/{train,valid}/wav.scp "$data/trials/valid"
  if [ "$shards" = true ]; then
    sources=("$data/train/wav.scp" "$data/train/utt2spk")
    [ "$vad" = none ] || sources+=("$data/train/vad.scp")
    fresh "$train/cuts.jsonl.gz" "${sources[@]}" || $cpu_cmd "$exp/log/make_shards.log" \
      svtk make-shards --seed "$seed" "$data/train" "$train"
  fi
  config=$(conf teacher)
  $train_cmd "$exp/log/train_teacher.log" "${launch[@]}" svtk train-teacher --config "$config" ${teacher:+--encoder "$teacher"} \
    "${valid[@]}" "${augment[@]}" "${how[@]}" "$train" "$exp/teacher"
  if [ "$cache_targets" = true ]; then
    configs=()
    for name in "${students[@]}"; do configs+=(--distill-config "$(conf "distill_$name")"); done
    options=$(svtk extract-targets --teacher "$exp/teacher" "${configs[@]}" --print-options "$data/train" "$exp/targets")
    read -ra wanted <<< "$options"  # --layers and --min-duration: only when these change are targets made anew
    targets=$exp/targets/JOB  # merged: $exp/targets
    share=() check=keys  # of the disk, for each job
    if [ -n "$targets_max_gib" ]; then
      share=(--max-gib "$(awk -v all="$targets_max_gib" -v nj="$nj" 'BEGIN { print all / nj }')") check=none
    fi
    run_jobs.sh "${arrays[@]}" --check "$check" --merge "$targets" --inputs "$(model_files "$exp/teacher")" \
      "$data/train" "$exp/log/extract_targets.JOB.log" \
      svtk extract-targets --num-threads "$num_threads" --teacher "$exp/teacher" "${wanted[@]}" \
      "${share[@]}" "${hear[@]}" --device "$device" SPLIT "$targets"
  else
    log "targets are not cached: the teacher runs beside the student"
  fi
fi

if stage 5 "distill $student ($train, teacher → $exp/STUDENT)"; then
  need 1 "$data"/{train,valid}/wav.scp "$data/trials/valid"
  need 4 "$exp/teacher/model.safetensors"
  taught=(--teacher "$exp/teacher")
  if [ "$cache_targets" = true ]; then
    need 4 "$exp/targets/targets.json"
    taught=(--targets "$exp/targets" ${targets_max_gib:+--teacher "$exp/teacher"})
  fi
  for name in "${students[@]}"; do
    config=$(conf "distill_$name")
    $train_cmd "$exp/log/distill_$name.log" "${launch[@]}" svtk distill --config "$config" --train "$train" "${valid[@]}" \
      "${taught[@]}" "${augment[@]}" "${how[@]}" "$exp/$name"
  done
fi

if stage 6 "another backend: $backend; large-margin fine-tuning: $lmft ($exp/STUDENT → $exp/STUDENT_{BACKEND,lmft})"; then
  need 1 "$data"/{train,valid}/wav.scp "$data/trials/valid"
  if [ "$backend" = none ]; then
    log "no further backend (--backend none)"
  else
    need 5 "$exp/${students[0]}/model.safetensors"
    config=$(conf "backend_$backend")
    name=${students[0]}_$backend
    $train_cmd "$exp/log/train_backend_$name.log" "${launch[@]}" svtk train-backend --config "$config" --student "$exp/${students[0]}" \
      "${valid[@]}" "${augment[@]}" "${how[@]}" "$train" "$exp/$name"
  fi
  if [ "$lmft" = true ]; then
    config=$(conf lmft)
    for name in "${students[@]}"; do
      need 5 "$exp/$name/model.safetensors"
      $train_cmd "$exp/log/fine_tune_$name.log" "${launch[@]}" svtk fine-tune --config "$config" --model "$exp/$name" \
        "${valid[@]}" "${augment[@]}" "${how[@]}" "$train" "$exp/${name}_lmft"
    done
  fi
fi

# The stages below look at every system and every evaluation.
if [ "$stage" -le 9 ] && [ "$stop_stage" -ge 7 ] && [ -z "$(evaluations)" ]; then
  die "no trial lists in $data/trials. To mend: run stage 1 first (--stage 1)"
fi

if stage 7 "embeddings ($exp/SYSTEM, test data → $exp/SYSTEM/embeddings_DATA.scp)"; then
  for name in $(systems); do
    need "$(made_by "$name")" "$exp/$name/model.safetensors"
    for set in $(embedded); do
      to=$exp/$name/embeddings_$set
      heard=("$data/$set/wav.scp")
      [ "$vad" = none ] || heard+=("$data/$set/vad.scp")
      fresh "$to.scp" "$exp/$name/model.safetensors" "${heard[@]}" || run_jobs.sh "${arrays[@]}" --merge "$to.JOB.scp" \
        --inputs "$(model_files "$exp/$name")" "$data/$set" "$exp/log/extract_embeddings_${name}_$set.JOB.log" \
        svtk extract-embeddings --num-threads "$num_threads" "${hear[@]}" --device "$device" "$exp/$name" SPLIT "ark,scp:$to.JOB.ark,$to.JOB.scp"
    done
  done
fi

if stage 8 "scores ($exp/SYSTEM/embeddings_DATA.scp → $exp/SYSTEM/eval_TRIALS/scores; as-norm: $score_norm; calibrated: $calibrate)"; then
  for name in $(systems); do
    while read -r set trials to; do
      from=$exp/$name/embeddings_$set.scp to=$exp/$name/$to
      need 7 "$from"
      mkdir -p "$to"
      fresh "$to/scores" "$from" "$data/trials/$trials" || $cpu_cmd "$exp/log/score_${name}_$trials.log" \
        svtk score "$data/trials/$trials" "scp:$from" "scp:$from" "$to/scores" < /dev/null
      [ "$score_norm" = none ] || normalize_scores "$name" "$from" "$trials" "$to" < /dev/null
    done < <(scored)
    [ "$calibrate" = false ] || for kind in "${kinds[@]}"; do calibrate_scores "$name" "$kind"; done
  done
fi

# compute_metrics SYSTEM SET TRIALS FILE TO: of EXP/SYSTEM/eval_*/FILE with the labels of TRIALS → TO beside it; intervals
# by the speakers of data directory SET, and groups by their sex, where they are known (not each utterance its own).
compute_metrics() {
  local from=$exp/$1/$4 to=$exp/$1/$5 about=()
  need 8 "$from"
  if awk '$1 != $2 { known = 1; exit } END { exit !known }' "$data/$2/utt2spk"; then
    about+=(--utt2spk "$data/$2/utt2spk")
    [ ! -s "$data/$2/spk2gender" ] || about+=(--by "$data/$2/spk2gender")
  fi
  fresh "$to" "$from" "$data/trials/$3" || run_to "$to" "$exp/log/compute_metrics_$1_$(tr / _ <<< "${5%.json}").log" \
    svtk compute-metrics --json "${about[@]}" "$from" "$data/trials/$3"
}

if stage 9 "metrics and report ($exp/SYSTEM/eval_TRIALS/{scores,llrs} → metrics.json, metrics_llrs.json; $exp/report.html)"; then
  for name in $(systems); do
    while read -r set trials; do
      for kind in "${kinds[@]}"; do
        dir=eval_$trials$kind
        compute_metrics "$name" "$set" "$trials" "$dir/scores" "$dir/metrics.json" < /dev/null
        [ "$calibrate" = false ] || compute_metrics "$name" "$set" "$trials" "$dir/llrs" "$dir/metrics_llrs.json" < /dev/null
      done
    done < <(evaluations)
  done
fi

title="corpus: $corpus${corpus_dir:+ ($(basename "$corpus_dir"))}, seed $seed"
[ "$corpus" != demo ] || title="Synthetic speech (demo corpus), seed $seed"

if stage 10 "sizes, speed and the table ($exp/SYSTEM → size.json, benchmark.json; $exp/${students[0]} → {onnx,int8}/)"; then
  for name in $(systems); do
    need "$(made_by "$name")" "$exp/$name/model.safetensors"
    fresh "$exp/$name/size.json" "$exp/$name/config.yaml" \
      || run_to "$exp/$name/size.json" "$exp/log/describe_$name.log" svtk describe --json "$exp/$name"
  done
  if [ "$export" = true ]; then
    need 1 "$data/valid/wav.scp"
    from=$exp/${students[0]}
    fresh "$from/onnx/export.json" "$from/model.safetensors" \
      || $cpu_cmd "$exp/log/export_${students[0]}.log" svtk export "$from" "$from/onnx"
    fresh "$from/int8/export.json" "$from/onnx/export.json" || $cpu_cmd "$exp/log/export_int8_${students[0]}.log" \
      svtk export --int8 static --calibration-data "$data/valid" "$from/onnx" "$from/int8"
    models=() made_of=("$from"/{onnx,int8}/export.json)
    for name in $(systems); do models+=("$exp/$name") made_of+=("$exp/$name/model.safetensors"); done
    fresh "$exp/benchmark.txt" "${made_of[@]}" || run_to "$exp/benchmark.txt" "$exp/log/benchmark.log" \
      svtk benchmark --engine optimized --rounds 10 --save-beside "${models[@]}" "$from"/{onnx,int8}
    log "speed: $exp/benchmark.txt"
  fi
fi

# The report of these systems in this order: the table always, a page and Markdown where it or another figure is new.
if [ "$stage" -le 10 ] && [ "$stop_stage" -ge 9 ]; then
  shown=(--title "$title") known=()
  for name in $(systems); do
    shown+=(--system "$name")
    for file in "$exp/$name"/{size,train,benchmark}.json "$exp/$name"/eval_*/{metrics,metrics_llrs}.json; do
      [ ! -f "$file" ] || known+=("$file")
    done
  done
  labels=(--trials "$data/trials")
  for set in $(evaluations | cut -d ' ' -f 1 | sort -u); do labels+=(--data-dir "$data/$set"); done
  before=$(cat "$exp/report.txt" 2> /dev/null || true)
  run_to "$exp/report.txt" "$exp/log/report.log" svtk report "${shown[@]}" "$exp"
  [ "$before" = "$(cat "$exp/report.txt")" ] || rm -f "$exp"/report.{html,md}
  fresh "$exp/report.html" "${known[@]}" || $cpu_cmd "$exp/log/report_html.log" \
    svtk report "${shown[@]}" "${labels[@]}" "$exp" "$exp/report.html"
  fresh "$exp/report.md" "${known[@]}" || $cpu_cmd "$exp/log/report_md.log" svtk report "${shown[@]}" "$exp" "$exp/report.md"
  cat "$exp/report.txt"
fi

# The demo ends with what to try next, the paths as seen from where the recipe was called.
if [ "$corpus" = demo ] && [ "$stop_stage" -ge 10 ]; then
  seen() { realpath --relative-base="$_caller" -- "$@"; }
  mapfile -t pair < <(awk 'NR == FNR { wav[$1] = $2; next } $3 == "target" { print wav[$1] "\n" wav[$2]; exit }' \
    "$data/test/wav.scp" "$data/trials/test")
  log "report: $(seen "$exp/report.html")"
  log "two recordings of one speaker: $(seen "$SVTK_ROOT/bin/svtk" "$exp/${students[0]}" "${pair[@]}" | sed '1s/$/ verify/' | paste -sd ' ')"
fi
