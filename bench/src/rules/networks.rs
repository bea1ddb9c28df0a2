//! A start with a million networks in a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::cases::Family;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::kit::{Kit, Server, written};
use crate::usage::Usage;

/// How many networks the file lists.
const NETWORKS: u32 = 1_000_000;

/// Starts a proxy with a file of networks, and one without.
pub fn run(kit: &Kit, family: Family) -> Result<Vec<f64>, Failure> {
    let server = Server::start(1)?;
    let listed = write(kit, family)?;
    let start = |arguments: &[&str]| -> Result<(f64, Usage), Failure> {
        let begun = Moment::now();
        let proxy = kit.cproxy(&written(&server.addresses), arguments)?;
        Ok((Moment::now().since(begun).as_secs_f64(), proxy.usage()))
    };
    let (without, usage_without) = start(&[])?;
    let (with, usage) = start(&["--deny", &listed])?;
    Ok(vec![with, without, usage.resident as f64, usage.peak as f64, usage_without.resident as f64])
}

/// Writes a file of networks, none of which has a client of ours, and returns the name of it as a rule takes it.
pub fn write(kit: &Kit, family: Family) -> Result<String, Failure> {
    let path = kit.file("networks.txt");
    let mut file = BufWriter::new(File::create(&path)?);
    list(family, &mut file)?;
    file.flush()?;
    Ok(format!("@{}", path.display()))
}

fn list(family: Family, to: &mut impl Write) -> io::Result<()> {
    // In an order that is not theirs, and no two of them beside each other: nothing can be merged.
    let shuffled = (0..1 << 20).map(|index: u32| index.wrapping_mul(0x9_E375) & ((1 << 20) - 1));
    let in_v4 = |block: u32| std::net::Ipv4Addr::from(block << 12 | (block.wrapping_mul(0x9E37_79B1) >> 21) & !0xF);
    let are_ours = |block: &u32| family == Family::V4 && block >> 12 == 127;
    for block in shuffled.filter(|block| !are_ours(block)).take(NETWORKS as usize) {
        match family {
            Family::V4 => writeln!(to, "{}/28", in_v4(block))?,
            Family::V6 => writeln!(to, "2001:db{:x}:{:x}:1::/64", block >> 16, block & 0xFFFF)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_million_networks_are_listed_and_none_is_loopback() {
        for family in [Family::V4, Family::V6] {
            let mut text = Vec::new();
            list(family, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let lines: HashSet<&str> = text.lines().collect();
            assert_eq!(lines.len(), NETWORKS as usize);
            assert!(!text.lines().any(|line| line.starts_with("127.")));
        }
    }
}
