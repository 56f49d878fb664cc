#!/bin/sh
# sh verify.sh [ALLOWED_SIGNERS [WITNESS]] checks this archive with sha256sum and ssh-keygen alone; VERIFY.md explains it.
# Only regular files are opened. A file that takes more than $SECONDS_A_FILE s of processor time to read ends the check.
export LC_ALL=C TZ=UTC
unset CDPATH
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
keys=${1:-$here/allowed_signers} witness=${2-} seconds=${SECONDS_A_FILE:-30}
nl=$(printf '\nx') nl=${nl%x}
code=0 n=0 have=0 then=0 plain=0 name='' first='' last='' before='' text='' used='' chosen='' total='' ahead='' order=''
own='' runner='' prints='' introduced='' people='' folk='' folk_sum='' some=0 born=''

# say WORD TEXT prints a line. Names come from whoever wrote the archive: what is not printable ASCII is shown as '?'.
say() {
  rest=$2 shown=''
  while case $rest in *[!\ -~]*) ;; *) false ;; esac; do
    part=${rest%%[!\ -~]*} shown=$shown${rest%%[!\ -~]*}'?' rest=${rest#"$part"?}
  done
  printf '%-4s %s\n' "$1" "$shown$rest"
}
bad() { code=1; say BAD "$*"; }
there() { [ -e "$1" ] || [ -L "$1" ]; }
is_plain() { [ -f "$1" ] && [ ! -L "$1" ] && [ -r "$1" ]; }
is_word() { case $1 in '' | [!A-Za-z0-9]* | *[!-A-Za-z0-9._@+]*) false ;; esac; }

finish() {
  [ "$code" = 0 ] || { say FAIL "See each line that begins with BAD."; exit "$code"; }
  newest="that the newest records are all here, "
  [ -z "$witness" ] || newest="that the records after the witness's are all here, "
  [ -z "$chosen" ] || newest="${newest}what was not exported, "
  say OK "$n records. Proven: without the runner's key nothing from the first to the newest was altered, removed, reordered or put in. Not proven: ${newest}that the key is the runner's, any time."
  exit 0
}

# readable FILE...: those that are plain can be read to their end (a sparse file of some exabytes cannot).
readable() {
  ( ulimit -t "$seconds" || :
    for text_file; do ! is_plain "$text_file" || while read -r _; do :; done < "$text_file"; done ) 2> /dev/null ||
    { bad "$1 and what lies beside it cannot be read to the end in $seconds s: a file is too large"; finish; }
}

# line ROW takes a line of sha256sum apart, into $sum and $file.
line() {
  sum=${1%%  *} file=${1#*  }
  [ ${#sum} = 64 ] && [ "$sum  $file" = "$1" ] && case $sum in *[!0-9a-f]*) false ;; esac
}

# sums FOLDER LIST [OPTION] lets sha256sum check a list. All files that it names must be known to be plain before.
sums() {
  said=$(cd "$1" && { ulimit -t "$seconds" 2> /dev/null || :; } && sha256sum -c --strict --quiet $3 "$2" 2>&1)
  case $? in
    0) ;;
    1) bad "$1/$2: $said" ;;
    *) bad "$1/$2: sha256sum did not end in $seconds s: a file is too large. $said"; finish ;;
  esac
}

# verified FILE SIGNER TIME PURPOSE: FILE.sig is as ssh-keygen writes it, by that signer, as of that time. Else $said says why not.
verified() {
  whole='' row='' said='is missing, or no plain file'
  is_plain "$1" && is_plain "$1.sig" || return 1
  while IFS= read -r row; do whole=$whole$row$nl; done < "$1.sig"
  said='is no whole signature'
  case $whole$row in *[!-A-Za-z0-9+/=\ "$nl"]*) return 1 ;; *-----"$nl") ;; *) return 1 ;; esac
  said='names no signer'
  is_word "$2" && is_word "$3" || return 1
  said=$(ssh-keygen -Y verify -f "$keys" -I "$2" -n "runbook-$4" -s "$1.sig" -Overify-time="$3" < "$1" 2>&1)
}
use() { case $used in *"${said##* }"*) ;; *) used="$used ${said##* }" ;; esac; }
signed() { if verified "$1" "$2" "$3" evidence; then use; else bad "$1.sig: $said"; return 1; fi; }

# accepted RECORD: a person has signed a review that accepts the record as it is here, and so answers for its time.
accepted() {
  [ -n "$1" ] && is_plain "$here/records/$1/SHA256SUMS" || return 1
  now=$(sha256sum < "$here/records/$1/SHA256SUMS") now=${now%% *}
  for review in "$here/reviews/${1%%-*}"-*.json; do
    is_plain "$review" || continue
    readable "$review" "$review.sig"
    yes='' when='' about='' of='' person='' digits=''
    while IFS= read -r row; do
      value=${row#*: \"} value=${value%,} value=${value%\"}
      case $row in
        ' "accepted": true,') yes=1 ;;
        ' "at": "'*) when=${value%%.*} when=${when%Z} ;;
        ' "record": "'*) about=$value ;;
        ' "record_sums": "'*) of=$value ;;
        ' "reviewer": "'*) person=$value ;;
      esac
    done < "$review"
    while [ -n "$when" ]; do
      case $when in [0-9]*) digits=$digits${when%"${when#?}"} ;; esac
      when=${when#?}
    done
    [ "$yes $about $of" = "1 $1 $now" ] && verified "$review" "$person" "$digits" review || continue
    say NOTE "$1: $person has accepted it in a signed review (${review##*/}), and answers for its time."
    return 0
  done
  return 1
}

is_moment() { case ${1%Z} in *[!0-9]*) false ;; ???????? | ???????????? | ??????????????) ;; *) false ;; esac; }

# signer ROW takes a line of allowed_signers apart, if it is as `runbook keys` writes it: $who $purposes $after $until $key.
# ssh-keygen takes more forms (no purpose, a pattern, a certificate authority): these count for nothing here.
signer() {
  who=${1%% *} rest=${1#* } after='' until=''
  options=${rest%% *} rest=${rest#* } kind=${rest%% *} rest=${rest#* } blob=${rest%% *}
  key="$kind $blob"
  case $1 in *[!\ -~]*) return 1 ;; "$who $options $key" | "$who $options $key "*) ;; *) return 1 ;; esac
  case $kind in
    ssh-ed25519 | ssh-rsa | ecdsa-sha2-nistp256 | ecdsa-sha2-nistp384 | ecdsa-sha2-nistp521) ;;
    sk-ssh-ed25519@openssh.com | sk-ecdsa-sha2-nistp256@openssh.com) ;;
    *) return 1 ;;
  esac
  case $blob in '' | *[!A-Za-z0-9+/=]*) return 1 ;; esac
  case $options in 'namespaces="'*'"'*) ;; *) return 1 ;; esac
  options=${options#*\"} purposes=${options%%\"*} options=${options#*\"}
  case $options in
    ',valid-after="'*'"'*) options=${options#*\"} after=${options%%\"*} options=${options#*\"}; is_moment "$after" || return 1 ;;
  esac
  case $options in
    ',valid-before="'*'"'*) options=${options#*\"} until=${options%%\"*} options=${options#*\"}; is_moment "$until" || return 1 ;;
  esac
  [ -z "$options" ] && is_word "$who" || return 1
  case $purposes in runbook-evidence) return ;; esac
  queue=$purposes,
  while [ -n "$queue" ]; do
    case ${queue%%,*} in runbook-witness | runbook-review | runbook-exception) queue=${queue#*,} ;; *) return 1 ;; esac
  done
}

# signers reads $keys. A key of the runner begins when the one before it ended (or as the statement in keys/ says, if a clock had run
# ahead when that was made). The runner's keys are in $prints, those that count in $introduced, and the lines of people in $people.
signers() {
  number=0 print='' ended=''
  while IFS= read -r row || [ -n "$row" ]; do
    case $row in '#'*) continue ;; *[![:blank:]]*) ;; *) continue ;; esac
    signer "$row" || { bad "$keys: a line that is not as 'runbook keys' writes it, which counts for nothing: $row"; continue; }
    [ "$purposes" = runbook-evidence ] || { people="$people$who $purposes, $key$nl"; continue; }
    number=$((number + 1)) older=$print
    print=$(printf '%s\n' "$key" | ssh-keygen -l -E sha256 -f - 2>&1) print=${print#* } print=${print%% *}
    case $print in SHA256:*) ;; *) bad "$keys: a line without a key: $row" ;; esac
    case "$prints " in *" $print "*) bad "$keys lists the key $print again" ;; esac
    if [ "$number" = 1 ]; then introduced=" $print"
    else
      one=$here/keys/$(printf %06d "$number").txt begins=''
      ! is_plain "$one" || statement "$one"
      [ "${after%Z}" = "${begins:-$ended}" ] || bad "$keys: the key $print of the runner does not begin when the one before it ended"
      [ -z "$own" ] || follows || bad "the key $print was not introduced by the one before it (keys/)"
    fi
    prints="$prints $print" ended=${until%Z} runner=$who
  done < "$keys"
}

# statement FILE reads a file of keys/, each line by its first word.
statement() {
  title='' at='' begins='' from='' to='' reason='' made_for='' person='' public='' purposes=''
  while IFS= read -r row; do
    case $row in
      'runbook '*) title=${row#runbook } ;;
      'time '*) at=${row#time } ;;
      'begins '*) begins=${row#begins } ;;
      'from '*) from=${row#from } ;;
      'to '*) to=${row#to } ;;
      'reason '*) reason=${row#reason } ;;
      'archive '*) made_for=${row#archive } ;;
      'name '*) person=${row#name } ;;
      'key '*) public=${row#key } ;;
      'for '*) purposes=${row#for } ;;
    esac
  done < "$1"
}

# follows: the statement $one, keys/NNNNNN.txt, says that $older ended and $print began, and is signed with $older. A key that was lost has no reason there.
follows() {
  is_plain "$one" || return 1
  [ "$title $at $from $to" = "key $number $ended $older $print" ] && [ -n "$reason" ] || return 1
  verified "$one" "$runner" "$at" evidence && [ "${said##* }" = "$older" ] || return 1
  case "$introduced " in *" $older "*) introduced="$introduced $print" ;; *) return 1 ;; esac
}

# counted NUMBER DIGEST: the record's number of people that the runner had introduced, and the digest of the files that did.
counted() {
  [ "$1 $2" != "$some $folk_sum" ] || return 0
  case $1 in '' | *[!0-9]*) bad "$name: archived.txt counts no people"; return ;; esac
  [ "$1" -ge "$some" ] || { bad "$name counts $1 introduced people, fewer than the record before it"; return; }
  while [ "$some" -lt "$1" ]; do
    some=$((some + 1)) born="$born$then "
    one=$here/keys/person-$(printf %06d "$some").txt
    is_plain "$one" || break
    while IFS= read -r row; do folk=$folk$row$nl; done < "$one"
  done
  some=$1 folk_sum=$2
  set -- $(printf %s "$folk" | sha256sum)
  [ "$1" = "$folk_sum" ] || bad "$name: the first $some of keys/person-*.txt are not what it saw: some were removed or rewritten"
}

# introductions: each of keys/person-*.txt is signed by the runner for this archive, none is missing or dated back, and each line of a
# person in $people has one for every purpose.
introductions() {
  number=0 made=$nl
  for one in "$here"/keys/person-*.txt; do
    there "$one" || continue
    number=$((number + 1)) since=${born%% *} born=${born#* }
    { is_plain "$one" && [ "${one##*/}" = "person-$(printf %06d "$number").txt" ] && statement "$one" && [ "$title" = "person $number" ] &&
      case $made_for in "${first:-$made_for}" | new) ;; *) false ;; esac && verified "$one" "$runner" "$at" evidence &&
      case "$introduced " in *" ${said##* } "*) ;; *) false ;; esac; } ||
      { bad "$one introduces nobody: the runner has not signed it for this archive, or one before it is missing"; continue; }
    [ "$at" -ge "${since:=$then}" ] && { [ "$made_for" != new ] || [ "$since" = 0 ]; } ||
      bad "$one was dated back: a record of $since does not count it"
    queue=$purposes,
    while [ -n "$queue" ]; do made="$made$person ${queue%%,*} $public$nl" queue=${queue#*,}; done
  done
  while [ -n "$people" ]; do
    who=${people%% *} key=${people%%"$nl"*} people=${people#*"$nl"}
    key=${key#* } queue=${key%% *} key=${key#* }
    while [ -n "$queue" ]; do
      case $made in *"$nl$who ${queue%%,*} $key$nl"*) ;; *) bad "$keys: nothing introduces $who for ${queue%%,*} (keys/person-*.txt)" ;; esac
      queue=${queue#*,}
    done
  done
  for print in $used; do
    case "$introduced " in *" $print "*) ;; *) bad "the key $print was used, and nothing introduces it" ;; esac
  done
}

# name_of FOLDER reads from run.json, as the archive writes it, what follows the number in the folder's name, into $due.
name_of() {
  runbook='' began='' target='' within=''
  while IFS= read -r row; do
    value=${row#*: \"} value=${value%,} value=${value%\"}
    case $row in
      '  "runbook": "'*) runbook=$value ;;
      '  "started_at": "'*) began=$value ;;
      '  "target": {') within=1 ;;
      '    "name": "'*) [ -z "$within" ] || target=$value within='' ;;
    esac
    [ -z "$runbook" ] || [ -z "$began" ] || [ -z "$target" ] || break
  done < "$1/run.json"
  day=${began%%T*} hour=${began#*T} month=${began#*-} minute=${began#*:}
  second=${minute#*:} second=${second%%[!0-9]*} month=${month%%T*}
  due=${day%%-*}${month%%-*}${month#*-}T${hour%%:*}${minute%%:*}${second}Z-$runbook-$target
}

# tombstone FOLDER reads which files were deleted into $gone; one that is not in order excuses nothing.
tombstone() {
  by='' at='' wrong='' deleted=/
  is_plain "$1/TOMBSTONE" || { bad "$1/TOMBSTONE is no plain file"; return; }
  while IFS= read -r row || [ -n "$row" ]; do
    case $row in
      '# pruned '*) at=${row#\# pruned } by=${at#* } at=${at%% *} ;;
      '# deleted run.json' | '# deleted archived.txt') wrong=$row ;;
      '# deleted '*) deleted=$deleted${row#\# deleted }/ ;;
      '# '*) ;;
      *) line "$row" && [ "$file" = SHA256SUMS ] || wrong=$row ;;
    esac
  done < "$1/TOMBSTONE"
  [ -z "$wrong" ] || { bad "$1/TOMBSTONE is none, or deletes what is kept for good: $wrong"; return; }
  ! signed "$1/TOMBSTONE" "$by" "$at" || gone=$deleted
  sums "$1" TOMBSTONE
}

# manifest FOLDER compares SHA256SUMS with what is there: $names, $link. False: sha256sum may not open all that it names.
manifest() {
  names=/ link='' gone=/ kept=run.json fine=1
  is_plain "$1/SHA256SUMS" || { bad "$1/SHA256SUMS is missing, or no plain file"; return 1; }
  readable "$1/SHA256SUMS" "$1/SHA256SUMS.sig" "$1/archived.txt" "$1/TOMBSTONE" "$1/TOMBSTONE.sig" "$1/run.json"
  while IFS= read -r row || [ -n "$row" ]; do
    if line "$row" && is_word "$file"; then names=$names$file/; else link=$link$file; fi
  done < "$1/SHA256SUMS"
  [ "$link" = "${last:+../$last/SHA256SUMS}" ] ||
    { fine=''; bad "$name follows '$link' and not '$last': the chain is cut, reordered or of another archive"; }
  [ -z "$link" ] || is_plain "$1/$link" || fine=''
  ! there "$1/TOMBSTONE" || tombstone "$1"
  case $names in */archived.txt/*) kept=archived.txt ;; esac
  case $chosen in '' | *"/$name/"*) bare='' ;; *) bare=1 ;; esac
  queue=${names#/}
  while [ -n "$queue" ]; do
    file=${queue%%/*} queue=${queue#*/}
    if there "$1/$file"; then
      [ -z "$bare" ] || [ "$file" = $kept ] || bad "$1/$file is here, but EXPORT does not list it: that list belongs to another copy"
    elif [ -z "$bare" ] || [ "$file" = $kept ]; then
      case $gone in */"$file"/*) ;; *) bad "$1/$file is missing" ;; esac
    fi
  done
  for file in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    there "$file" || continue
    case ${names}SHA256SUMS/SHA256SUMS.sig/TOMBSTONE/TOMBSTONE.sig/ in
      */"${file##*/}"/*) is_plain "$file" || { fine=''; bad "$file is a symbolic link, or no plain file that can be read"; } ;;
      *) bad "$file was added, or is a symbolic link" ;;
    esac
  done
  [ -n "$fine" ]
}

# in_order KEY: no record is signed with a key after another one has replaced it.
in_order() {
  case "$order " in
    *" $1 ") ;;
    *" $1 "*) bad "$name/SHA256SUMS.sig: its key $1 had been replaced before" ;;
    *) order="$order $1" ;;
  esac
}

# archived FOLDER: its archive, its signature as of its time, the order of time, and what it saw of RUNS. The name is in $due.
archived() {
  id='' at='' who='' rows='' sum='' due='' why='' folks=''
  ! is_plain "$1/archived.txt" || while read -r word value other last_one; do
    case $word in
      archive) id=$value ;;
      time) at=$value ;;
      signer) who=$value ;;
      runs) rows=$value sum=$last_one ;;
      people) folks="$value $other" ;;
      record) due=$value ;;
    esac
  done < "$1/archived.txt"
  case $at:$rows in :* | *: | *[!0-9:]*) bad "$1/archived.txt is missing, or none"; return ;; esac
  [ "$id" = "${first:=$id}" ] || bad "$name is of another archive"
  if [ "$who$used" = nobody ]; then plain=$n
  elif verified "$1/SHA256SUMS" "$who" "$at" evidence; then use; in_order "${said##* }"; ahead=''
  elif why=$said; [ "$then" -gt 0 ] && verified "$1/SHA256SUMS" "$who" "$then" evidence && accepted "$name"; then ahead=$name
  else bad "$1/SHA256SUMS.sig: $why"; fi
  [ "$at" -ge "$then" ] || accepted "$name" || accepted "$before" || bad "$name: the clock ran backwards"
  [ -z "$own" ] || [ -z "$folks" ] || counted $folks
  then=$at before=$name
  while [ "$have" -lt "$rows" ] && IFS= read -r row <&3; do text=$text$row$nl have=$((have + 1)); done
  set -- $(printf %s "$text" | sha256sum)
  [ "$1" = "$sum" ] || bad "$name: RUNS, lines 1 to $rows, is not what it was"
}

# record FOLDER checks the record that has the number $n.
record() {
  case $name in "$(printf %06d- "$n")"*) is_word "$name" && [ -d "$1" ] && [ ! -L "$1" ] ;; *) false ;; esac ||
    bad "$name stands where record $n is due: one is missing, doubled, renamed or a link"
  [ -d "$1" ] && [ ! -L "$1" ] && is_word "$name" || return
  ! manifest "$1" || sums "$1" SHA256SUMS --ignore-missing
  last=$name due=''
  is_plain "$1/SHA256SUMS" || return
  case $names in
    */archived.txt/*) archived "$1" ;;
    *) plain=$n; [ -z "$first" ] || bad "$name is not signed" ;;
  esac
  case $names in
    */run.json/*) if [ -z "$due" ] && is_plain "$1/run.json"; then name_of "$1"; due=${name%%-*}-$due; fi ;;
  esac
  [ -z "$due" ] || [ "$due" = "$name" ] || bad "$name was renamed: it is the record of $due"
}

# listed reads from EXPORT which records were exported whole, into $chosen; a list that is not in order excuses nothing.
listed() {
  at='' who='' list=/ fine=1
  is_plain "$here/EXPORT" || { bad "EXPORT is no plain file"; return; }
  readable "$here/EXPORT" "$here/EXPORT.sig"
  while IFS= read -r row || [ -n "$row" ]; do
    case $row in
      '# export '*) at=${row#\# export } who=${at#* } at=${at%% *} ;;
      '# chosen '*) total=${row#\# chosen * of } total=${total%% *} ;;
      *)
        file='' && line "$row" && one=${file#records/} && one=${one%%/*} && is_word "$one" && is_word "${file##*/}" &&
          [ "$file" = "records/$one/${file##*/}" ] || { bad "EXPORT has a line that lists no record's file: $row"; return; }
        list=$list$one/
        is_plain "$here/$file" || { fine=''; bad "$here/$file was exported, and is missing or no plain file"; }
        ;;
    esac
  done < "$here/EXPORT"
  signed "$here/EXPORT" "$who" "$at" || return
  [ -z "$fine" ] || sums "$here" EXPORT
  chosen=$list
  say NOTE "This is an export: of the records that EXPORT does not list, only the manifests are here."
}

# seen: the archive holds the one record that the witness names.
seen() {
  count=0
  [ -f "$witness" ] || { bad "$witness is no file"; return; }
  readable "$witness"
  while IFS= read -r row || [ -n "$row" ]; do
    case $row in '#'*) continue ;; esac
    count=$((count + 1)) file=''
    line "$row" && one=${file#records/} && one=${one%%/*} && is_word "$one" && [ "$file" = "records/$one/SHA256SUMS" ] && is_plain "$here/$file" &&
      now=$(sha256sum < "$here/$file") && [ "${now%% *}" = "$sum" ] || bad "$witness: it saw another record, or one that is not here: $file"
  done < "$witness"
  [ "$count" = 1 ] || bad "$witness is no witness's file"
}

check() {
  ulimit -t $((seconds * 20)) 2> /dev/null || :
  for file in RUNS records allowed_signers keys reviews witnesses exceptions; do
    [ ! -L "$here/$file" ] || bad "$file is a symbolic link"
  done
  [ ! "$keys" -ef "$here/allowed_signers" ] || own=1
  [ -f "$keys" ] || { bad "$keys is missing, or no file"; keys=/dev/null; }
  [ -d "$here/records" ] || bad "$here/records is no folder"
  readable "$keys" "$here/RUNS" "$here"/keys/*
  if [ -f "$here/RUNS" ]; then exec 3< "$here/RUNS"; else exec 3< /dev/null; ! there "$here/RUNS" || bad "RUNS is no plain file"; fi
  signers
  ! there "$here/EXPORT" || listed
  for folder in "$here"/records/* "$here"/records/.[!.]* "$here"/records/..?*; do
    there "$folder" || continue
    n=$((n + 1)) name=${folder##*/}
    record "$folder"
  done
  [ -z "$own" ] || introductions
  [ -z "$chosen" ] || [ "$total" = "$n" ] || bad "EXPORT was made of $total records, but $n are here"
  [ -z "$ahead" ] || bad "$ahead/SHA256SUMS.sig: its key had ended, and no later record follows it"
  for file in "$here"/* "$here"/.[!.]* "$here"/..?*; do
    case ${file##*/} in
      RUNS | records | allowed_signers | keys | reviews | witnesses | exceptions | EXPORT | EXPORT.sig | VERIFY.md | verify.sh) ;;
      index.html | index | chosen.csv | .gitattributes | .staging | .lock | .names | .index.lock) ;;
      *) ! there "$file" || say NOTE "No part of the archive, and proven by nothing: ${file##*/}" ;;
    esac
  done
  [ -n "$used" ] || bad "no record is signed: nothing proves who made them"
  say NOTE "$n records, the first $plain not signed; the others signed with${used:- no key}: compare that with the fingerprint handed over to you."
  if [ -z "$witness" ]; then say NOTE "No witness was given: the newest records are not provable."; else seen; fi
  finish
}

( check ); code=$?
[ "$code" -lt 2 ] || say FAIL "The check did not end: a file takes too long to read."
exit "$code"
