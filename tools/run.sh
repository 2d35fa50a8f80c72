#!/usr/bin/env bash
# Starts one node on a local network of its own: it runs the chain, offers every kind of work and has a gateway. Its data stays in
# $THETIS_HOME (default ~/.thetis-local) between runs.
. "$(dirname "$0")/steps.sh"
step "Set-up" need_to_build
step "Build" build_programs
home=${THETIS_HOME:-$HOME/.thetis-local}
thetis=$(target_dir)/debug/thetis
if [ ! -e "$home/thetis.toml" ]; then
  # A local network's coins are worth nothing, so its wallet may open by a file and without a question.
  mkdir -p -m 0700 "$home"
  (umask 077 && head -c 24 /dev/urandom | base64 > "$home/passphrase")
  "$thetis" init --data "$home" --network local --passphrase-file "$home/passphrase" --gateway \
    --offer relay,transcode,embeddings,chat --set "workers.models=$PWD/models" \
    --set 'mesh.listen=["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"]'
fi
say "A node on its own local network; stop it with Ctrl-C. In another terminal:"
cat <<HINT
    alias thetis='$thetis --data $home'
    thetis status                       what it does, and why not more
    thetis faucet $("$thetis" --data "$home" wallet list)
                                        play money: with it the node registers what it offers
    thetis offers                       what can be had on this network (a node buys from others, not from itself)
    thetis gateway key create test      a key for the APIs that docs/gateway.md describes
HINT
[ -d models ] || echo "    Models for chats and embeddings are missing: make models"
echo
exec "$thetis" serve --data "$home" --passphrase-file "$home/passphrase"
