//! The capture file, and the ones before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::pcapng::{Batch, FIRST_BYTES};
use crate::config::capture::Rotation;

/// A file that packets are written to.
#[derive(Debug)]
pub struct CaptureFile {
    path: PathBuf,
    file: File,
    rotation: Option<Rotation>,
    /// Which one of those that were begun.
    number: u64,
    /// Bytes of whole blocks.
    length: u64,
    state: State,
}

/// What the file is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may be there from before, and is to be begun.
    Opened,
    /// There may be something behind the last whole block, which is to be cut off.
    Cut,
    /// It ends with a whole block.
    Whole,
}

impl CaptureFile {
    /// Opens a file, which the first batch begins. A capture that is there already is then replaced, or is the first to be
    /// renamed where there is a rotation.
    ///
    /// # Errors
    ///
    /// The system's, or that there is something else than a capture.
    pub fn open(path: &Path) -> io::Result<CaptureFile> {
        match path.metadata() {
            Ok(there) if there.is_file() => is_capture(path)?,
            Ok(there) if there.file_type().is_char_device() => {}
            Ok(_) => return Err(io::Error::other("not a regular file")),
            Err(_) => {}
        }
        let file = append(path)?;
        Ok(CaptureFile { path: path.to_path_buf(), file, rotation: None, number: 0, length: 0, state: State::Opened })
    }

    /// Settles what becomes of it.
    pub fn set_rotation(&mut self, rotation: Option<Rotation>) {
        self.rotation = rotation;
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which one of those that were begun it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether anything was written.
    pub fn is_begun(&self) -> bool {
        !matches!(self.state, State::Opened)
    }

    /// How many bytes of one batch it is best given.
    pub fn batch_size(&self) -> u64 {
        const BATCH: u64 = 1 << 20;
        self.rotation.map_or(BATCH, |rotation| BATCH.min(rotation.size / 4))
    }

    /// Whether it has no room for another batch of which the last record takes so many bytes.
    pub fn is_full(&self, last: u64) -> bool {
        self.is_begun() && self.rotation.is_some_and(|rotation| self.length + self.batch_size() + last > rotation.size)
    }

    /// Has the next batch begin another file.
    pub fn rotate(&mut self) {
        (self.number, self.state) = (self.number + 1, State::Opened);
    }

    fn begin(&mut self) -> io::Result<()> {
        if let (Some(rotation), true) = (self.rotation, self.file.metadata()?.len() > 0) {
            rename(&self.path, rotation.files)?;
        }
        self.file = append(&self.path)?;
        (self.length, self.state) = (0, State::Cut);
        let mut batch = Batch::default();
        batch.begin_file();
        let begun = self.write(&batch);
        if begun.is_err() {
            self.state = State::Opened;
        }
        begun
    }

    /// Writes a batch, or nothing of it.
    ///
    /// # Errors
    ///
    /// The system's; the file then ends as before.
    pub fn write(&mut self, batch: &Batch) -> io::Result<()> {
        match self.state {
            State::Opened => self.begin()?,
            State::Cut => self.cut()?,
            State::Whole => {}
        }
        let written = write_all(&mut self.file, &mut batch.slices());
        match written {
            Ok(()) => (self.length, self.state) = (self.length + batch.bytes(), State::Whole),
            // A part of a block would make what follows unreadable.
            Err(_) => self.state = if self.cut().is_ok() { State::Whole } else { State::Cut },
        }
        written
    }

    /// Removes what is behind the last whole block.
    fn cut(&mut self) -> io::Result<()> {
        if self.file.metadata()?.is_file() { self.file.set_len(self.length) } else { Ok(()) }
    }
}

/// Writes everything.
fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens a file to add to it. What sessions say is nobody else's business.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Fails if a file is there that is no capture and not empty: whoever named it may have meant another.
fn is_capture(path: &Path) -> io::Result<()> {
    let mut first = Vec::new();
    File::open(path)?.take(FIRST_BYTES.len() as u64).read_to_end(&mut first)?;
    if first.is_empty() || first == FIRST_BYTES {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no capture"))
    }
}

/// Gives `file` the name `file.1`, that one `file.2`, and so on; of so many, the last is removed.
fn rename(path: &Path, files: u32) -> io::Result<()> {
    let name = |number: u32| match number {
        0 => path.to_path_buf(),
        number => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        }
    };
    // Up to the first name that is free, which is mostly a few.
    let free = (0..files).find(|number| name(*number).symlink_metadata().is_err()).unwrap_or(files - 1);
    for number in (0..free).rev() {
        fs::rename(name(number), name(number + 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::pcapng::Payload;

    /// A folder that is removed.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("cproxy-capture-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> =
                fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn batch(byte: u8, size: usize) -> Batch {
        let mut batch = Batch::default();
        let block = batch.add_block(vec![byte; size]);
        batch.packet(0, b"", &Payload { block, range: 0..size }, "");
        batch
    }

    #[test]
    fn a_file_becomes_no_larger_than_it_may_and_the_oldest_is_removed() {
        let folder = Folder::new("rotation");
        let path = folder.0.join("x");
        let rotation = Rotation { size: 100_000, files: 3 };
        let mut file = CaptureFile::open(&path).unwrap();
        file.set_rotation(Some(rotation));
        for n in 0..20 {
            if file.is_full(0) {
                file.rotate();
            }
            file.write(&batch(n, 20_000)).unwrap();
        }
        assert_eq!(folder.names(), ["x", "x.1", "x.2"]);
        assert!(file.number() >= 4);
        for name in folder.names() {
            let bytes = fs::read(folder.0.join(&name)).unwrap();
            assert!(bytes.len() <= 100_000 && bytes.starts_with(&FIRST_BYTES), "{name}");
        }
        assert!(fs::read(&path).unwrap().contains(&19));
        // The next program begins a new one as well.
        drop(file);
        let mut file = CaptureFile::open(&path).unwrap();
        file.set_rotation(Some(rotation));
        assert!(fs::read(&path).unwrap().contains(&19));
        file.write(&batch(77, 10)).unwrap();
        assert!(fs::read(folder.0.join("x.1")).unwrap().contains(&19));
    }

    #[test]
    fn what_is_no_capture_is_not_replaced() {
        let folder = Folder::new("other");
        let path = folder.0.join("x");
        fs::write(&path, "precious").unwrap();
        let error = CaptureFile::open(&path).unwrap_err();
        assert_eq!(error.to_string(), "there is a file that is no capture");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_eq!(CaptureFile::open(&folder.0).unwrap_err().to_string(), "not a regular file");
        fs::write(&path, "").unwrap();
        CaptureFile::open(&path).unwrap().write(&batch(1, 10)).unwrap();
        let written = fs::read(&path).unwrap();
        let mut file = CaptureFile::open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), written);
        file.write(&batch(1, 10)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), written);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let mut file = CaptureFile::open(Path::new("/dev/full")).unwrap();
        for _ in 0..2 {
            assert_eq!(file.write(&batch(1, 10)).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}
