//! Imports a genesis file into a new database, as the first start of a node does: `import_genesis FILE FOLDER`. For `make bench`.

use std::{error::Error, fs::File, io::BufReader, path::Path};

use theta_state::{Batch, ChainDb, Genesis};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, folder] = arguments.as_slice() else {
        return Err("usage: import_genesis FILE FOLDER".into());
    };
    // Computes the state root and refuses a file whose header says another.
    let genesis = Genesis::read(BufReader::new(File::open(file)?))?;
    std::fs::create_dir_all(folder)?;
    let db = ChainDb::open(Path::new(folder).join("chain.db"))?;
    let mut batch = Batch::new();
    batch.put_nodes(genesis.state().unsaved_nodes());
    db.commit(batch)?;
    println!("{}", genesis.hash());
    Ok(())
}
