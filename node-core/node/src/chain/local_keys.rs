//! The keys of a local network: its one validator, and the faucet that holds its coins.
//!
//! They lie in clear beside the chain, readable by their owner alone: the network is made by this node for itself, its
//! coins are worth nothing, and it has to go on while the wallet is locked.

use std::path::Path;

use anyhow::Context;
use theta_types::SecretKey;
use zeroize::Zeroizing;

use crate::data_folder::{create_private_folder, write_private_file};

const FILE: &str = "local-network.keys";

/// The keys that a local network is made with. They decide its genesis.
#[derive(Debug)]
pub struct LocalKeys {
    /// Proposes and votes.
    pub validator: SecretKey,
    /// Has all the coins.
    pub faucet: SecretKey,
}

impl LocalKeys {
    /// Whether a chain's folder has such keys.
    pub fn are_in(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Reads them from the chain's folder, or makes them.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        create_private_folder(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        let path = folder.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                Self::parse(&text).with_context(|| {
                    format!(
                        "{} is damaged: restore it, or remove the folder for a new local network",
                        path.display()
                    )
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let keys = Self { validator: SecretKey::random()?, faucet: SecretKey::random()? };
                let text = Zeroizing::new(format!(
                    "{}\n{}\n",
                    hex::encode(keys.validator.to_bytes()),
                    hex::encode(keys.faucet.to_bytes())
                ));
                write_private_file(&path, text.as_bytes())
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                Ok(keys)
            }
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut keys = text.lines().map(|line| {
            let bytes = Zeroizing::new(hex::decode(line).context("not hexadecimal")?);
            Ok::<_, anyhow::Error>(SecretKey::from_bytes(&bytes)?)
        });
        let mut next = || keys.next().context("a key is missing")?;
        Ok(Self { validator: next()?, faucet: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_folder_has_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let first = LocalKeys::open(folder.path()).unwrap();
        let again = LocalKeys::open(folder.path()).unwrap();
        assert_eq!(first.validator.address(), again.validator.address());
        assert_eq!(first.faucet.address(), again.faucet.address());
        assert_ne!(first.faucet.address(), first.validator.address());
    }

    #[test]
    fn a_damaged_file_is_said_so_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "beef").unwrap();
        assert!(LocalKeys::open(folder.path()).unwrap_err().to_string().contains("damaged"));
        assert_eq!(std::fs::read_to_string(folder.path().join(FILE)).unwrap(), "beef");
    }
}
