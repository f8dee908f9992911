#!/usr/bin/env bash
# Debian packages that the build, the checks and the tests call. Installs what is missing
# when run as root; otherwise says the one command that does.
set -euo pipefail

declare -A needed=(
  [gcc]=gcc [make]=make [npm]=npm [cppcheck]=cppcheck [ci]=rcs [co]=rcs [python3]=python3
  [setpriv]=util-linux [setcap]=libcap2-bin [git]=git [rsync]=rsync [sqlite3]=sqlite3 [zip]=zip
)
missing=()
for program in "${!needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${needed[$program]}")
done
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
[ -e /usr/include/linux/fanotify.h ] || missing+=(linux-libc-dev)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "packages: missing; as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
