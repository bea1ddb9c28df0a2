//! Asks the servers one question, until one of them has an answer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::message::{LARGEST_DATAGRAM, Question, Reply};
use super::resolv_conf::ResolvConf;
use crate::base::error::error_text;
use crate::base::random::random;

/// Asks for the SRV records of a name, as it is. `first` says which server is asked first, where they take turns. No
/// further one is asked when `is_over` says so.
///
/// # Errors
///
/// One line that says why there is no answer.
pub fn ask(conf: &ResolvConf, name: &str, first: usize, is_over: &dyn Fn() -> bool) -> Result<Reply, String> {
    let first = if conf.rotate { first % conf.servers.len() } else { 0 };
    let (late, early) = conf.servers.split_at(first);
    let mut failure = None;
    for _ in 0..conf.attempts {
        for &server in early.iter().chain(late) {
            if is_over() {
                return Err("there is no time left".to_string());
            }
            match ask_server(conf, server, name)? {
                Ok(Reply::Refused) => {}
                Ok(reply) => return Ok(reply),
                Err(reason) => failure = Some(format!("DNS server {server}: {reason}")),
            }
        }
        // None of them would say anything else if it were asked again.
        if failure.is_none() {
            break;
        }
    }
    failure.map_or(Ok(Reply::Refused), Err)
}

/// Asks one server, in as many ways as it needs. The outer error says what no server can do anything about.
fn ask_server(conf: &ResolvConf, server: SocketAddr, name: &str) -> Result<Result<Reply, String>, String> {
    let (mut with_size, mut over_tcp) = (true, conf.over_tcp);
    loop {
        // Each time with another number and from another port: nobody who cannot see the question can answer it.
        let id = random().map(u16::from_ne_bytes).map_err(|error| error_text(&error))?;
        let question = Question::new(name, id)?;
        let bytes = question.to_bytes(with_size)?;
        let deadline = Instant::now() + conf.timeout;
        let exchange = if over_tcp { by_stream } else { by_datagrams };
        match exchange(server, &question, &bytes, deadline) {
            Ok(Reply::NotUnderstood) if with_size => with_size = false,
            Ok(Reply::NotUnderstood) => return Ok(Err("it does not understand the question".to_string())),
            Ok(Reply::Truncated) if !over_tcp => over_tcp = true,
            Ok(Reply::Truncated) => return Ok(Err("the answer is cut off".to_string())),
            Ok(Reply::Failed(reason)) => return Ok(Err(reason)),
            Ok(reply) => return Ok(Ok(reply)),
            Err(error) if is_timeout(&error) => return Ok(Err(format!("no answer within {:?}", conf.timeout))),
            Err(error) => return Ok(Err(error_text(&error))),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The time until then; an error if there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn by_datagrams(server: SocketAddr, question: &Question, bytes: &[u8], deadline: Instant) -> io::Result<Reply> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // From now on the system lets nothing in that comes from elsewhere, and tells when nobody is there.
    socket.connect(server)?;
    socket.send(bytes)?;
    // Some servers send more than they were told to.
    let mut answer = [0; 4 * LARGEST_DATAGRAM as usize];
    loop {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let length = match socket.recv(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if let Some(reply) = question.reply(&answer[..length]) {
            return Ok(reply);
        }
    }
}

fn by_stream(server: SocketAddr, question: &Question, bytes: &[u8], deadline: Instant) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    let length = u16::try_from(bytes.len()).map_err(|_| io::Error::other("the question is too long"))?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
    loop {
        let mut length = [0; 2];
        read(&mut stream, &mut length, deadline)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        read(&mut stream, &mut answer, deadline)?;
        if let Some(reply) = question.reply(&answer) {
            return Ok(reply);
        }
    }
}

/// Fills `bytes` until then, however slowly they come.
fn read(stream: &mut TcpStream, mut bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(bytes) {
            Ok(0) => return Err(io::Error::other("the answer is cut off")),
            Ok(length) => bytes = &mut bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Asked, Says, Server, conf};
    use super::*;
    use std::sync::{Arc, Mutex};

    const NAME: &str = "_http._tcp.web.internal";

    fn never() -> bool {
        false
    }

    fn services(asked: &Asked) -> Says {
        Says::services(asked, 60, &[(0, 1, 80, "a.example.", "")])
    }

    #[track_caller]
    fn assert_found(conf: &ResolvConf) {
        let reply = ask(conf, NAME, 0, &never);
        assert!(matches!(&reply, Ok(Reply::Services(services, 60)) if services.len() == 1), "{reply:?}");
    }

    /// A server that notes what it is asked, and what has been noted.
    fn noting(mut says: impl FnMut(&Asked) -> Says + Send + 'static) -> (Server, Arc<Mutex<Vec<Asked>>>) {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let noted = notes.clone();
        let server = Server::saying(move |asked| {
            noted.lock().unwrap().push(asked.clone());
            says(asked)
        });
        (server, notes)
    }

    fn short(servers: &[&Server]) -> ResolvConf {
        ResolvConf { timeout: Duration::from_millis(100), ..conf(servers) }
    }

    #[test]
    fn each_question_has_a_port_and_a_number_of_its_own() {
        let (server, notes) = noting(services);
        let count = 20;
        (0..count).for_each(|_| assert_found(&conf(&[&server])));
        let notes = notes.lock().unwrap();
        assert!(notes.iter().all(|asked| asked.name == format!("{NAME}.") && asked.size == Some(1232)));
        let different = |of: fn(&Asked) -> u16| {
            let mut all: Vec<u16> = notes.iter().map(of).collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        // Chance may have two of them equal; more would be no chance.
        assert!(different(|asked| asked.id) >= count - 2);
        assert!(different(|asked| asked.from.port()) >= count / 2);
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Server::start(move |asked| {
            // From elsewhere, with all that a right answer has.
            other.send_to(&asked.answer(&Says::code(3)), asked.from).unwrap();
            let forged = asked.answer(&Says { wrong_by: 7, ..services(asked) });
            vec![forged, b"nonsense".to_vec(), Vec::new(), asked.answer(&services(asked))]
        });
        assert_found(&conf(&[&server]));
    }

    #[test]
    fn a_long_answer_comes_over_tcp() {
        let (server, notes) = noting(|asked| {
            let mut says = Says::services(asked, 60, &vec![(0, 1, 80, "a.example.", ""); 2000]);
            if !asked.over_tcp {
                (says.is_truncated, says.answer) = (true, says.answer[..1].to_vec());
            }
            says
        });
        let reply = ask(&conf(&[&server]), NAME, 0, &never);
        assert!(matches!(&reply, Ok(Reply::Services(services, 60)) if services.len() == 2000));
        assert_eq!(notes.lock().unwrap().iter().map(|asked| asked.over_tcp).collect::<Vec<_>>(), [false, true]);
        assert!(ask(&ResolvConf { over_tcp: true, ..conf(&[&server]) }, NAME, 0, &never).is_ok());
        assert!(notes.lock().unwrap()[2].over_tcp);
    }

    #[test]
    fn an_answer_that_is_cut_off_over_tcp_is_none() {
        let server = Server::saying(|_| Says { is_truncated: true, ..Says::default() });
        let error = ask(&conf(&[&server]), NAME, 0, &never).unwrap_err();
        assert_eq!(error, format!("DNS server {}: the answer is cut off", server.address));
    }

    #[test]
    fn the_next_server_is_asked_when_one_cannot_say() {
        let good = Server::saying(services);
        for code in [2, 5] {
            assert_found(&conf(&[&Server::saying(move |_| Says::code(code)), &good]));
        }
        // Nobody is there: the system says so, and nothing is waited for.
        let gone = Server::silent().address;
        assert_found(&ResolvConf { servers: vec![gone, good.address], ..conf(&[]) });
        let silent = Server::silent();
        let mut both = conf(&[&silent, &good]);
        (both.timeout, both.attempts) = (Duration::from_secs(1), 5);
        assert_found(&both);
        // If all of them refuse, that is what they say; one that fails might have said something else.
        let (refuses, broken) = (Server::saying(|_| Says::code(5)), Server::saying(|_| Says::code(2)));
        assert_eq!(ask(&conf(&[&refuses, &refuses]), NAME, 0, &never), Ok(Reply::Refused));
        assert!(ask(&conf(&[&refuses, &broken]), NAME, 0, &never).is_err());
        // That there is no such name is an answer.
        let (unasked, notes) = noting(services);
        assert_eq!(ask(&conf(&[&Server::saying(|_| Says::code(3)), &unasked]), NAME, 0, &never), Ok(Reply::NoName));
        assert_eq!(notes.lock().unwrap().len(), 0);
    }

    #[test]
    fn silence_is_an_error_after_all_attempts() {
        let (first, second) = (Server::silent(), Server::silent());
        let conf = ResolvConf { attempts: 2, ..short(&[&first, &second]) };
        let start = Instant::now();
        let error = ask(&conf, NAME, 0, &never).unwrap_err();
        assert_eq!(error, format!("DNS server {}: no answer within 100ms", second.address));
        assert!(start.elapsed() >= Duration::from_millis(400));
        assert_eq!(ask(&conf, NAME, 0, &|| true).unwrap_err(), "there is no time left");
    }

    #[test]
    fn a_lost_question_is_asked_again() {
        let mut count = 0;
        let server = Server::start(move |asked| {
            count += 1;
            if count == 1 { Vec::new() } else { vec![asked.answer(&services(asked))] }
        });
        let again = ResolvConf { attempts: 5, timeout: Duration::from_secs(1), ..conf(&[&server]) };
        assert_found(&again);
    }

    #[test]
    fn a_server_that_knows_no_sizes_is_asked_without() {
        let (server, notes) = noting(|asked| if asked.size.is_some() { Says::code(1) } else { services(asked) });
        assert_found(&conf(&[&server]));
        assert_eq!(notes.lock().unwrap().len(), 2);
        let (never_content, notes) = noting(|_| Says::code(1));
        let error = ask(&conf(&[&never_content]), NAME, 0, &never).unwrap_err();
        assert!(error.ends_with(": it does not understand the question"), "{error}");
        assert_eq!(notes.lock().unwrap().len(), 2);
    }

    #[test]
    fn servers_take_turns_if_they_are_to() {
        let (first, first_notes) = noting(services);
        let (second, second_notes) = noting(services);
        let mut both = conf(&[&first, &second]);
        let counts = || (first_notes.lock().unwrap().len(), second_notes.lock().unwrap().len());
        (0..4).for_each(|turn| drop(ask(&both, NAME, turn, &never).unwrap()));
        assert_eq!(counts(), (4, 0));
        both.rotate = true;
        (0..4).for_each(|turn| drop(ask(&both, NAME, turn, &never).unwrap()));
        assert_eq!(counts(), (6, 2));
    }
}
