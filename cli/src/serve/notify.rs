//! What systemd is told, where it wants to know (`Type=notify`): one datagram, so no crate is needed.

use std::{env, ffi::OsStr, io, os::unix::ffi::OsStrExt, os::unix::net::UnixDatagram};

use crate::console::Console;

/// Tells a state, such as `READY=1`; without a service manager nothing.
pub(super) fn tell(console: Console, state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state.as_bytes()) {
        console.warn(format_args!("the service manager was not told {state}: {error}"));
    }
}

fn send(socket: &OsStr, state: &[u8]) -> io::Result<()> {
    let datagram = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
        return datagram.send_to_addr(state, &SocketAddr::from_abstract_name(name)?).map(drop);
    }
    datagram.send_to(state, socket).map(drop)
}
