//! Root file systems of busybox for containers of tests, as tar archives in memory.

use std::{fs, path::Path};

/// What the tests use of busybox.
const APPLETS: &[&str] = &[
    "sh", "awk", "cat", "chmod", "date", "dd", "df", "echo", "env", "false", "grep", "gzip", "head", "hostname", "httpd", "id",
    "ip", "kill", "ln", "ls", "md5sum", "mkdir", "mknod", "mount", "nc", "nslookup", "ping", "ps", "pwd", "rm", "sed", "seq",
    "sleep", "stty", "sync", "tail", "test", "touch", "tr", "true", "tty", "umount", "uname", "wc", "wget", "yes",
];

/// A root file system being put together.
pub struct Root {
    tar: tar::Builder<Vec<u8>>,
}

impl Root {
    /// Nothing in it.
    pub fn empty() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }

    /// Busybox (`/bin/sh`, `/bin/httpd`, `/bin/nc`, …; see Debian's `busybox-static`), two users, `/www/index.html`.
    pub fn tiny() -> Self {
        let busybox = fs::read("/bin/busybox").unwrap_or_else(|error| panic!("/bin/busybox (package busybox-static): {error}"));
        let folders = ["bin", "etc", "www", "srv", "proc", "sys", "dev"];
        let root =
            folders.iter().fold(Self::empty(), |root, folder| root.folder(folder)).mode("tmp", tar::EntryType::Directory, 0o1777);
        let root = root.program("bin/busybox", &busybox);
        let root = APPLETS.iter().fold(root, |root, applet| root.link(&format!("bin/{applet}"), "busybox"));
        root.file("etc/passwd", "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
            .file("etc/group", "root:x:0:\nuser:x:1000:\n")
            .file("www/index.html", "tiny\n")
    }

    fn header(&self, kind: tar::EntryType, mode: u32) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        // Numbers that are left blank are not read by everybody.
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header
    }

    fn put(mut self, mut header: tar::Header, path: &str, bytes: &[u8]) -> Self {
        header.set_size(bytes.len() as u64);
        match self.tar.append_data(&mut header, path, bytes) {
            Ok(()) => self,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    fn mode(self, path: &str, kind: tar::EntryType, mode: u32) -> Self {
        let header = self.header(kind, mode);
        self.put(header, path, &[])
    }

    /// A folder anybody may read.
    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.mode(path, tar::EntryType::Directory, 0o755)
    }

    /// A file anybody may read.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let header = self.header(tar::EntryType::Regular, 0o644);
        self.put(header, path, content.as_ref())
    }

    /// A file anybody may run.
    #[must_use]
    pub fn program(self, path: &str, content: &[u8]) -> Self {
        let header = self.header(tar::EntryType::Regular, 0o755);
        self.put(header, path, content)
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, to: &str) -> Self {
        let mut header = self.header(tar::EntryType::Symlink, 0o777);
        match self.tar.append_link(&mut header, path, to) {
            Ok(()) => self,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// The archive.
    pub fn bytes(self) -> Vec<u8> {
        self.tar.into_inner().unwrap_or_else(|error| panic!("an archive in memory: {error}"))
    }

    /// The archive as a file.
    pub fn write(self, file: &Path) {
        fs::write(file, self.bytes()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
