#!/usr/bin/env bash
# Debian packages that the build, the checks and the tests call. Installs what is missing
# when run as root; otherwise says the one command that does.
#
#   packages.sh [GROUP ...]    what a longer target needs besides: fuzz, programs, aarch64
set -euo pipefail

declare -A needed=(
  [gcc]=gcc [make]=make [npm]=npm [cppcheck]=cppcheck [ci]=rcs [co]=rcs [python3]=python3
  [setpriv]=util-linux [setcap]=libcap2-bin [git]=git [rsync]=rsync [sqlite3]=sqlite3 [zip]=zip
)
missing=()
need_file() { [ -e "$1" ] || missing+=("$2"); }

for group in "$@"; do
  case $group in
    fuzz)
      needed[clang]=clang
      compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a' > /dev/null ||
        missing+=("libclang-rt-$(apt-cache depends clang | sed -n 's/.*Depends: clang-//p')-dev") ;;
    programs)
      needed[cvs]=cvs
      needed[nginx]=nginx-light
      version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
      need_file "/usr/lib/python$version/test/test_os.py" "libpython$version-testsuite"
      need_file /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 libfaketime ;;
    aarch64)
      needed[aarch64-linux-gnu-gcc]=gcc-aarch64-linux-gnu
      needed[qemu-aarch64-static]=qemu-user-static
      need_file /usr/aarch64-linux-gnu/include/stdio.h libc6-dev-arm64-cross ;;
    *) echo "packages: no such group: $group" >&2; exit 2 ;;
  esac
done

for program in "${!needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${needed[$program]}")
done
need_file /usr/include/stdio.h libc6-dev
need_file /usr/include/linux/fanotify.h linux-libc-dev
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "packages: missing; as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
