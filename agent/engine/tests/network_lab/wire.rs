//! Traffic: a server that says who it is and whom it sees, clients that ask it, and a ping.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with, sockopt,
};

use crate::lab::within;

const PATIENCE: Duration = Duration::from_millis(1500);

/// A TCP server that greets with `<name> <address of the client>` and then repeats each line.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(namespace: &impl AsFd, name: &str, at: (Ipv4Addr, u16)) -> Self {
        let listener = within(namespace, move || TcpListener::bind(at).unwrap());
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), name.to_owned());
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, client)) => {
                        let name = name.clone();
                        std::thread::spawn(move || greet(&name, &stream, client));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { stop }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn greet(name: &str, stream: &TcpStream, client: SocketAddr) {
    let work = || -> io::Result<()> {
        stream.set_nonblocking(false)?;
        writeln!(&mut &*stream, "{name} {}", client.ip())?;
        for line in BufReader::new(stream).lines() {
            writeln!(&mut &*stream, "{}", line?)?;
        }
        Ok(())
    };
    // A client that goes away is how every conversation ends.
    let _ = work();
}

/// A conversation with a [`Server`].
pub(crate) struct Talk {
    stream: BufReader<TcpStream>,
    pub(crate) greeting: String,
}

impl Talk {
    pub(crate) fn say(&mut self, line: &str) -> io::Result<String> {
        writeln!(self.stream.get_mut(), "{line}")?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }
}

/// Connects from the namespace and reads the greeting.
pub(crate) fn talk(namespace: &impl AsFd, to: (Ipv4Addr, u16)) -> io::Result<Talk> {
    within(namespace, move || {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut talk = Talk { stream: BufReader::new(stream), greeting: String::new() };
        talk.stream.read_line(&mut talk.greeting)?;
        talk.greeting = talk.greeting.trim().to_owned();
        Ok(talk)
    })
}

/// The greeting of the server at this address, asked from the namespace.
pub(crate) fn ask(namespace: &impl AsFd, to: (Ipv4Addr, u16)) -> io::Result<String> {
    talk(namespace, to).map(|talk| talk.greeting)
}

/// Sends one ICMP echo request from the namespace over an unprivileged socket and waits for the answer.
pub(crate) fn ping(namespace: &impl AsFd, to: Ipv4Addr) -> io::Result<()> {
    within(namespace, move || {
        let kind = SocketType::DGRAM;
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(ipproto::ICMP))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        let request = [8, 0, 0, 0, 0, 0, 0, 1, b'p'];
        sendto(&socket, &request, SendFlags::empty(), &SocketAddrV4::new(to, 0))?;
        let mut answer = [0u8; 64];
        let (count, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
        if count == request.len() && answer[0] == 0 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    })
}

/// Answers one datagram with the address it came from.
pub(crate) fn answer_one_datagram(namespace: &impl AsFd, at: (Ipv4Addr, u16)) {
    let socket = within(namespace, move || UdpSocket::bind(at).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0u8; 64];
        if let Ok((_, client)) = socket.recv_from(&mut buffer) {
            // The test fails at the asking side when this does not arrive.
            let _ = socket.send_to(client.ip().to_string().as_bytes(), client);
        }
    });
}

/// Sends one datagram from the namespace and returns the answer.
pub(crate) fn ask_by_datagram(namespace: &impl AsFd, to: (Ipv4Addr, u16)) -> io::Result<String> {
    within(namespace, move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(SocketAddr::from(to))?;
        socket.send(b"who am I")?;
        let mut buffer = [0u8; 64];
        let count = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
    })
}
