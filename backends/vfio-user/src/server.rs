//! The socket, and the clients that come to it one after the other.

use crate::config::Layout;
use crate::device::Session;
use crate::regions;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use softnet_nic_hal::bus::PciDevice;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use vfio_user::Server;

/// Why there is no socket for clients to come to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another program listens there.
    #[error("another program serves {}", .0.display())]
    InUse(PathBuf),
    /// The path is something else's.
    #[error("{} is there already, and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Os {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How the service of one client ended, if not by its leaving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// [`Stop::stop`] was called.
    #[error("the device is not served any more")]
    Stopped,
    /// The client does not speak the protocol, or the connection broke.
    #[error("the client's connection failed: {0}")]
    Client(#[source] vfio_user::Error),
    /// The client's message was so wrong that the protocol's implementation gave up.
    #[error("the client sent what is no message of the protocol")]
    Nonsense,
    /// There is no thread to serve the client on.
    #[error("there is no thread to serve a client: {0}")]
    Thread(#[source] io::Error),
}

/// A device that is offered on a Unix socket, by the protocol vfio-user.
///
/// One client at a time has the device. It maps its memory for the device, gets its
/// interrupts as eventfds, and finds the registers as if it had them by VFIO. When it
/// goes, however it does, the device is reset and the next one may come.
pub struct VfioUser<D: PciDevice> {
    path: PathBuf,
    device: Arc<D>,
    layout: Arc<Layout>,
    server: Server,
    stop: Stop,
}

impl<D: PciDevice> VfioUser<D> {
    /// Listens at `path`. A socket that a program has left there is replaced.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(path: &Path, device: Arc<D>) -> Result<Self, BindError> {
        let listener = listen(path)?;
        let layout = Layout::of(&*device);
        let irqs = regions::irqs(&layout);
        let regions = regions::regions(&*device, &layout);
        let os = |source| BindError::Os {
            path: path.to_owned(),
            source,
        };
        let stop = Stop::new(listener.try_clone().map_err(os)?.into());
        Ok(Self {
            path: path.to_owned(),
            device,
            layout: Arc::new(layout),
            server: Server::from_owned_fd(listener.into(), true, irqs, regions),
            stop,
        })
    }

    /// Waits for a client, and serves it until it leaves.
    ///
    /// # Errors
    /// [`ServeError`]. After any but [`ServeError::Stopped`] the next client can be
    /// served.
    pub fn serve(&self) -> Result<(), ServeError> {
        if self.stop.is_stopped() {
            return Err(ServeError::Stopped);
        }
        let mut session = Session::new(Arc::clone(&self.device), Arc::clone(&self.layout));
        let served = thread::scope(|scope| {
            // A thread of its own, since the protocol's implementation panics over some
            // messages that no client should send.
            let builder = thread::Builder::new().name("vfio-user".into());
            let serving = builder.spawn_scoped(scope, || self.server.run(&mut session));
            let serving = serving.map_err(ServeError::Thread)?;
            let ended = serving.join().map_err(|_| ServeError::Nonsense)?;
            ended.map_err(ServeError::Client)
        });
        if self.stop.is_stopped() {
            return Err(ServeError::Stopped);
        }
        served
    }

    /// What ends [`serve`](Self::serve) from another thread.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<D: PciDevice> Drop for VfioUser<D> {
    fn drop(&mut self) {
        // Where it is gone already, nothing is left to do.
        let _ = fs::remove_file(&self.path);
    }
}

/// Ends the wait of [`VfioUser::serve`]. A client that is there is served until it
/// leaves.
#[derive(Clone, Debug)]
pub struct Stop {
    listener: Arc<OwnedFd>,
    stopped: Arc<AtomicBool>,
}

impl Stop {
    fn new(listener: OwnedFd) -> Self {
        Self {
            listener: Arc::new(listener),
            stopped: Arc::default(),
        }
    }

    /// Lets no further client come.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // It wakes who waits for a client (unix(7) refuses the next one, too).
        let _ = shutdown(&*self.listener, Shutdown::Both);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

fn listen(path: &Path) -> Result<UnixListener, BindError> {
    let os = |source| BindError::Os {
        path: path.to_owned(),
        source,
    };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            clear(path)?;
            UnixListener::bind(path).map_err(os)
        }
        bound => bound.map_err(os),
    }
}

/// Removes a socket that nobody listens at any more.
fn clear(path: &Path) -> Result<(), BindError> {
    let Err(error) = UnixStream::connect(path) else {
        return Err(BindError::InUse(path.to_owned()));
    };
    match Errno::from_io_error(&error) {
        Some(Errno::CONNREFUSED) if is_socket(path) => {
            fs::remove_file(path).map_err(|source| BindError::Os {
                path: path.to_owned(),
                source,
            })
        }
        Some(Errno::CONNREFUSED) => Err(BindError::NotASocket(path.to_owned())),
        _ => Err(BindError::InUse(path.to_owned())),
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}
