#!/bin/sh
# sh verify.sh [ALLOWED_SIGNERS [WITNESS]] checks this archive with sha256sum and ssh-keygen alone; VERIFY.md explains it.
export LC_ALL=C TZ=UTC; case $0 in */*) here=${0%/*} ;; *) here=. ;; esac; nl=$(printf '\nx') nl=${nl%x}
keys=${1:-$here/allowed_signers} witness=$2 code=0 n=0 have=0 then=0 plain=0 first='' last='' text='' used=''
bad() { code=1; printf 'BAD  %s\n' "$*"; }
sums() { said=$(cd "$1" && sha256sum -c --strict --quiet $3 "$2" 2>&1) || bad "$1/$2: $said"; }
signed() { whole=''; while IFS= read -r row; do whole=$whole$row$nl; done < "$1.sig"; case $whole$row in *[!-A-Za-z0-9+/=\ "$nl"]*) false ;; *-----"$nl") said=$(ssh-keygen -Y verify -f "$keys" -I "$2" -n runbook-evidence -s "$1.sig" -Overify-time="$3" < "$1" 2>&1) ;; *) false ;; esac || { bad "$1.sig: $said"; return 1; }; case $used in *"${said##* }"*) ;; *) used="$used ${said##* }" ;; esac; }
if [ -e "$here/RUNS" ]; then exec 3< "$here/RUNS"; else exec 3< /dev/null; fi; [ ! -L "$here/RUNS" ] && [ ! -L "$here/records" ] && [ ! -L "$here/allowed_signers" ] || bad "RUNS, records or allowed_signers is a symbolic link"
for d in "$here"/records/* "$here"/records/.[!.]*; do [ -e "$d" ] || [ -L "$d" ] || continue; name=${d##*/} n=$((n + 1)) list=/SHA256SUMS/SHA256SUMS.sig/TOMBSTONE/TOMBSTONE.sig/ link='' gone=/
  case $name in "$(printf %06d- $n)"*) [ ! -L "$d" ] ;; *) false ;; esac || bad "$name stands where record $n is due: one is missing, doubled, renamed or a link"
  [ ! -e "$d/TOMBSTONE" ] || { while read -r _ word file by; do case $word in pruned) signed "$d/TOMBSTONE" "$by" "$file" ;; deleted) gone=$gone$file/ ;; esac; done < "$d/TOMBSTONE"; sums "$d" TOMBSTONE; }
  while read -r _ file; do case $file in */*) link=$link$file ;; *) list=$list$file/; [ -e "$d/$file" ] || case $gone in */"$file"/*) ;; *) [ -e "$here/EXPORT" ] || bad "$d/$file is missing" ;; esac ;; esac; done < "$d/SHA256SUMS"
  sums "$d" SHA256SUMS --ignore-missing; for file in "$d"/* "$d"/.[!.]* "$d"/..?*; do case $list in */"${file##*/}"/*) [ -f "$file" ] && [ ! -L "$file" ] ;; *) [ ! -e "$file" ] && [ ! -L "$file" ] ;; esac || bad "$file was added, or is a symbolic link"; done
  [ "$link" = "${last:+../$last/SHA256SUMS}" ] || bad "$name follows '$link' and not '$last': the chain is cut, reordered or of another archive"; last=$name
  case $list in */archived.txt/*) { read -r _ id; read -r _ at; read -r _ who; read -r _ rows _ sum; } < "$d/archived.txt" || bad "$d/archived.txt is missing" ;; *) plain=$n; [ -z "$first" ] || bad "$name is not signed"; continue ;; esac
  [ "$id" = "${first:=$id}" ] || bad "$name is of another archive"; [ "$at" -ge "$then" ] || bad "$name: the clock ran backwards"; then=$at; if [ "$who$used" = nobody ]; then plain=$n; else signed "$d/SHA256SUMS" "$who" "$at"; fi
  while [ $have -lt "$rows" ] && IFS= read -r row <&3; do text=$text$row$nl have=$((have + 1)); done; set -- $(printf %s "$text" | sha256sum); [ "$1" = "$sum" ] || bad "$name: RUNS, lines 1 to $rows, is not what it was"; done
[ ! -L "$here/keys" ] || bad "keys is a symbolic link"; runner='' people='' end='' intro='' ok=''; set -f; if [ -f "$keys" ]; then while IFS= read -r row || [ -n "$row" ]; do case $row in ''|'#'*) continue ;; esac; set -- $row; rest=${2#namespaces=\"*\"}
  case $row in *[!\ -~]*) false ;; *) case $1$3 in *[!A-Za-z0-9._@+-]*|*cert*) false ;; *) case $rest in ''|,valid-after=\"*\"|,valid-before=\"*\") case $rest in *names*|*[!-a-z0-9Z,=\"]*|*cert*) false ;; esac ;; *) false ;; esac ;; esac ;; esac || { bad "$keys: a line that is not as \`runbook keys\` writes it, which counts for nothing: $row"; continue; }
  v=${2#namespaces=\"} v=${v%%\"*}; case $v in runbook-evidence) a=${rest#*valid-after=\"} a=${a%%\"*}; [ -z "$runner" ] || [ "$a" = "$end" ] || bad "$keys: a key of the runner does not begin when the one before it ended: $row"; runner=$1 end=${rest#*valid-before=\"} end=${end%%\"*} ;;
  runbook-witness,runbook-review,runbook-exception|runbook-witness,runbook-review|runbook-witness|runbook-review|runbook-exception) people=$people$1\ $3\ $4$nl ;; *) bad "$keys: a line for another purpose: $row" ;; esac; done < "$keys"; fi; set +f
if [ "$keys" = "$here/allowed_signers" ] && [ -n "$used" ]; then ok="${used# } "; ok=\ ${ok%% *}\ ; for f in "$here"/keys/[0-9]*.txt; do [ -f "$f" ] || continue; { read -r _; read -r _ at; read -r _ from; read -r _ to; } < "$f"; [ -f "$f.sig" ] && signed "$f" "$runner" "$at" && case $ok in *" ${said##* } "*) [ "${said##* }" = "$from" ] && ok="$ok$to " ;; esac; done
  for f in "$here"/keys/person-*.txt; do [ -f "$f" ] || continue; { read -r _; read -r _ at; } < "$f"; if signed "$f" "$runner" "$at"; then while IFS= read -r row; do intro=$intro$row$nl; done < "$f"; fi; done; for f in $used; do case $ok in *" $f "*) ;; *) bad "the key $f was not introduced by the one before it (keys/)" ;; esac; done
  while read -r who type key; do [ -z "$who" ] || case $intro in *"name $who${nl}key $type $key$nl"*) ;; *) bad "$keys: nothing introduces $who (keys/person-*.txt): the line counts for nothing" ;; esac; done <<END
$people
END
fi
[ ! -e "$here/EXPORT" ] || { read -r _ _ at who < "$here/EXPORT"; signed "$here/EXPORT" "$who" "$at"; sums "$here" EXPORT; }
[ -n "$used" ] || bad "no record is signed: nothing proves who made them"; echo "$n records, the first $plain not signed; the others signed with${used:- no key}: compare that with the fingerprint handed over to you."
if [ -z "$witness" ]; then echo "No witness was given: the newest records are not provable."; else (cd "$here" && sha256sum -c --strict --quiet -) < "$witness" || bad "$witness: it saw another record"; fi; exit $code
