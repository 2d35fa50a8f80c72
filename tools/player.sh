#!/usr/bin/env bash
. "$(dirname "$0")/steps.sh"
need_node
step "hls.js" need_player
