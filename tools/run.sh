#!/usr/bin/env bash
# Starts one node on a local network of its own. Its data stays in $THETIS_HOME (default ~/.thetis-local) between runs.
. "$(dirname "$0")/steps.sh"
step "Set-up" need_to_build
step "Build" build_programs
home=${THETIS_HOME:-$HOME/.thetis-local}
thetis=$(target_dir)/debug/thetis
if [ ! -e "$home/thetis.toml" ]; then
  # A local network's coins are worth nothing, so its wallet may open by a file and without a question.
  mkdir -p -m 0700 "$home"
  (umask 077 && head -c 24 /dev/urandom | base64 > "$home/passphrase")
  "$thetis" init --data "$home" --network local --passphrase-file "$home/passphrase"
fi
say "A node on its own local network; stop it with Ctrl-C. Data: $home"
exec "$thetis" serve --data "$home" --passphrase-file "$home/passphrase"
