#!/usr/bin/env bash
# A ladder of 360p and 720p with sound: our pipeline against one ffmpeg command with the same encoder settings and the same
# kind of scaler (bilinear, over every pixel). Prints processor seconds, bytes, and the likeness to the source scaled so (PSNR
# of the luma, by ffmpeg's filter), ratio first.
# PROFILE=dev measures a development build: the work is GStreamer's either way.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
rounds=${1:-3}
folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
ours=${CARGO_TARGET_DIR:-target}/$folder/examples/ladder
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --quiet --profile "$profile" --workspace --example ladder
# 32 seconds of film at 25 frames/s, without gaps where it starts again.
ffmpeg -v error -stream_loop 5 -i testdata/bigbuckbunny.mp4 -vf setpts=N/25/TB -r 25 -c:v libx264 -preset veryfast -crf 14 -c:a aac -ac 2 "$work/source.mp4"

# Bits per second at most, as media/src/encoder.rs has them for 25 frames/s.
settings=(-c:v libx264 -preset veryfast -profile:v high -crf 23 -g 50 -keyint_min 50 -sc_threshold 0 -x264-params open-gop=0)
by_ffmpeg() {
  mkdir -p "$work/theirs/360p" "$work/theirs/720p"
  ffmpeg -v error -y -i "$work/source.mp4" \
    -filter_complex '[0:v]fps=25,split[a][b];[a]scale=640:360:flags=bilinear[small];[b]null[large]' \
    -map '[small]' -map 0:a -map '[large]' -map 0:a "${settings[@]}" \
    -maxrate:v:0 856k -bufsize:v:0 1712k -maxrate:v:1 2783k -bufsize:v:1 5566k -c:a aac -b:a 128k -ac 2 \
    -f hls -hls_time 2 -hls_list_size 0 -var_stream_map 'v:0,a:0,name:360p v:1,a:1,name:720p' \
    -hls_segment_filename "$work/theirs/%v/%05d.ts" "$work/theirs/%v/index.m3u8"
}
by_us() { "$ours" "$work/source.mp4" "$work/ours" >"$work/renditions" 2>"$work/log" || { cat "$work/log" >&2; return 1; }; }

# cpu COMMAND: its processor seconds, the best of the rounds.
TIMEFORMAT='%U %S'
cpu() {
  for _ in $(seq "$rounds"); do
    rm -rf "$work/theirs" "$work/ours"
    { time "$1" 1>&2; } 2>&1 | tail -n 1
  done | awk '{ sum = $1 + $2; if (best == "" || sum < best) best = sum } END { print best }'
}

bytes() { cat "$work/$1/$2"/*.ts | wc -c; }

# psnr WHOSE RENDITION SIZE: dB of the luma against the source scaled to the rendition's size.
psnr() {
  ffmpeg -v info -nostats -i "$work/$1/$2/index.m3u8" -i "$work/source.mp4" \
    -filter_complex "[1:v]scale=$3:flags=bilinear,setpts=N/25/TB[s];[0:v]setpts=N/25/TB[r];[r][s]psnr" \
    -an -f null - 2>&1 | sed -n 's/.*PSNR y:\([0-9.]*\).*/\1/p'
}

theirs_cpu=$(cpu by_ffmpeg)
mv "$work/theirs" "$work/kept"
ours_cpu=$(cpu by_us)
mv "$work/kept" "$work/theirs"

bench/figures.py add 'ladder of 32 s of film, 360p and 720p, x264 veryfast' "$ours_cpu" 'CPU seconds' "$theirs_cpu" ffmpeg lower
for rendition in 360p:640x360 720p:1280x720; do
  name=${rendition%%:*} size=${rendition##*:}
  bench/figures.py add "its $name: size" "$(bytes ours "$name")" bytes "$(bytes theirs "$name")" ffmpeg lower
  bench/figures.py add "its $name: likeness of the luma" "$(psnr ours "$name" "${size/x/:}")" 'dB PSNR' \
    "$(psnr theirs "$name" "${size/x/:}")" ffmpeg
done
