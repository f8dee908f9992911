#!/usr/bin/env bash
# Installs the servers that the conformance tests run against: Ceph from Debian's packages
# (as root), Azurite from npm as package-lock.json pins it, integrity included, below DIR.
# A second run finds both and downloads nothing.
#
#   install.sh DIR [bench]    bench: also the peers that make bench-storage measures
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=$(realpath -m "${1:?directory}")

declare -A needed=(
  [radosgw]=radosgw [ceph-mon]=ceph-mon [ceph-osd]=ceph-osd [ceph-mgr]=ceph-mgr
  [ceph]=ceph-common [curl]=curl [openssl]=openssl [npm]=npm
  [rsync]=rsync [mkfs.ext4]=e2fsprogs [nginx]=nginx-light
)
if [ "${2:-}" = bench ]; then needed+=([rclone]=rclone [s3fs]=s3fs); fi
missing=()
for program in "${!needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${needed[$program]}")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "emulators: missing; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "emulators: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >/dev/null
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp=$(sha256sum "$here/package-lock.json" | cut -d' ' -f1)
if [ "$(cat "$dir/npm/stamp" 2>/dev/null)" != "$stamp" ]; then
  echo "emulators: installing Azurite"
  rm -rf "$dir/npm"
  mkdir -p "$dir/npm"
  cp "$here/package.json" "$here/package-lock.json" "$dir/npm/"
  (cd "$dir/npm" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
  echo "$stamp" > "$dir/npm/stamp"
fi
