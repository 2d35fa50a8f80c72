//! The exchange of wallet bindings on a hello stream.

use std::{io, sync::Arc};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use theta_types::Address;

use crate::binding::{BindingError, MAX_BINDING_BYTES, WalletBinding};

/// The hello protocol: the side that opened the stream sends its binding and closes.
pub(crate) const HELLO: StreamProtocol = StreamProtocol::new("/thetis/hello/1");

/// Sends our binding.
pub(crate) async fn say(mut stream: Stream, binding: Arc<[u8]>) -> io::Result<()> {
    stream.write_all(&binding).await?;
    stream.close().await
}

/// Reads a peer's binding and verifies it. Never reads more than a binding has. A stream that breaks is no verdict on the
/// peer: the connection may have broken.
pub(crate) async fn hear(
    stream: Stream,
    chain_id: Arc<str>,
    peer: PeerId,
) -> io::Result<Result<Address, BindingError>> {
    let mut bytes = Vec::with_capacity(MAX_BINDING_BYTES + 1);
    let mut stream = stream.take(MAX_BINDING_BYTES as u64 + 1);
    stream.read_to_end(&mut bytes).await?;
    Ok(WalletBinding::decode(&bytes).and_then(|binding| binding.verify(&chain_id, &peer)))
}
