//! A value that one thread owns, because using it blocks on the disk.

use tokio::sync::{mpsc, oneshot};

/// Requests that may wait. A caller waits for a place.
const QUEUE: usize = 1_024;

type Request<T> = Box<dyn FnOnce(&mut T) + Send>;

/// The owner is gone: the program is ending, or a request panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the book of payments is closed")]
pub struct Closed;

/// Handle to the owner's thread. The thread ends, and drops the value, when the last handle is gone.
pub(crate) struct Owner<T> {
    requests: mpsc::Sender<Request<T>>,
}

impl<T> Clone for Owner<T> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<T> std::fmt::Debug for Owner<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Owner<T> {
    /// Gives `value` to a thread of its own.
    pub fn start(name: &str, value: T) -> std::io::Result<Self> {
        let (requests, mut queue) = mpsc::channel::<Request<T>>(QUEUE);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut value = value;
            while let Some(request) = queue.blocking_recv() {
                request(&mut value);
            }
        })?;
        Ok(Self { requests })
    }

    /// Uses the value. Once the request is in the queue it is carried out, even when the caller does not wait for it.
    pub async fn with<R: Send + 'static>(
        &self,
        use_it: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Closed> {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(move |value: &mut T| {
            let _ = reply.send(use_it(value));
        });
        self.requests.send(request).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_carried_out_in_order_even_when_nobody_waits() {
        let owner = Owner::start("test", Vec::new()).unwrap();
        for number in 0..10 {
            let request = owner.with(move |seen: &mut Vec<u32>| seen.push(number));
            // Polled once: it is in the queue. Then dropped.
            let _ = futures::FutureExt::now_or_never(request);
        }
        assert_eq!(owner.with(|seen| seen.clone()).await.unwrap(), (0..10).collect::<Vec<_>>());
    }
}
