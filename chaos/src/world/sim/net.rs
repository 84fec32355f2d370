//! `quorate_env::Network` over turmoil's TCP. Which host speaks is a matter of whose task runs.

use std::io;

use quorate_env::{BoxFuture, BoxStream, Listener, Network};

/// The simulated network, as every simulated host sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimNetwork;

impl Network for SimNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = turmoil::net::TcpStream::connect(split(address)?).await?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let (host, port) = split(address)?;
            // Hosts have one interface; turmoil binds to all of them only.
            let inner = turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(SimListener { inner, host: host.to_owned() }) as Box<dyn Listener>)
        })
    }
}

struct SimListener {
    inner: turmoil::net::TcpListener,
    host: String,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            let (stream, from) = self.inner.accept().await?;
            Ok((Box::new(stream) as BoxStream, from.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(format!("{}:{}", self.host, self.inner.local_addr()?.port()))
    }
}

fn split(address: &str) -> io::Result<(&str, u16)> {
    address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("`{address}` is not host:port")))
}
