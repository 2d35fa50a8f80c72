//! Puts hls.js, which npm installs in `player/`, into the player page. Without it the crate still builds, and the page says
//! so to browsers that cannot play HLS by themselves: `make player` installs it.

use std::{env, fs, path::Path};

fn main() -> std::io::Result<()> {
    let source = Path::new("player/node_modules/hls.js/dist/hls.min.js");
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed=player/package-lock.json");
    let target = Path::new(&env::var("OUT_DIR").map_err(std::io::Error::other)?).join("hls.min.js");
    let script = match fs::read_to_string(source) {
        Ok(script) => script,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!(
                "cargo:warning=hls.js is not installed: the player page is built without it (run `make player`)"
            );
            String::new()
        }
        Err(error) => return Err(error),
    };
    fs::write(target, script)
}
