# Sourced by the scripts that start servers: several trees of p4-cache are tested on one
# machine at a time, so no port is fixed.

# Prints a port of the loopback at which nobody listens, from below those that the kernel
# gives to clients. Another may take it before its user does: who starts a server there
# looks whether it is its own that answers, and tries again elsewhere.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((10240 + (RANDOM * 32768 + RANDOM) % 20000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  echo "no free port between 10240 and 30240" >&2
  return 1
}

# Whether process PID exists and has TEXT in its command line: the number in an old file may
# be another process's by now.
runs_as() { # PID, TEXT
  [ -n "$1" ] && tr '\0' ' ' < "/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$2"
}
