//! What kind of file system a file lies on, where that decides what can be promised of it.

use std::{io, os::fd::AsFd};

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// Nothing is known against it.
    Local,
    /// Other hosts may have the file too: locks and memory hold between processes of one host at
    /// most. With its name.
    Network(&'static str),
    /// A write to bytes that are there already needs new room, which may be missing. With its name.
    CopyOnWrite(&'static str),
}

use FileSystem::{CopyOnWrite, Network};

/// Magic numbers: linux/magic.h, and the sources of those that are not in the kernel.
const KNOWN: [(u32, FileSystem); 15] = [
    (0x6969, Network("NFS")),
    (0x517b, Network("SMB")),
    (0xff53_4d42, Network("CIFS")),
    (0xfe53_4d42, Network("SMB2")),
    (0x0102_1997, Network("9P")),
    (0x00c3_6400, Network("Ceph")),
    (0x5346_414f, Network("AFS")),
    (0x0bd0_0bd0, Network("Lustre")),
    (0x0116_1970, Network("GFS2")),
    (0x7461_636f, Network("OCFS2")),
    (0x6573_5546, Network("FUSE")),
    (0x7375_7245, Network("Coda")),
    (0x9123_683e, CopyOnWrite("btrfs")),
    (0x2fc1_2fc1, CopyOnWrite("ZFS")),
    (0xca45_1a4e, CopyOnWrite("bcachefs")),
];

impl FileSystem {
    /// That of an open file.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::numbered(rustix::fs::fstatfs(file)?.f_type as u32))
    }

    /// That of a folder.
    #[cfg(feature = "store-sqlite")]
    pub(crate) fn of_folder(folder: &std::path::Path) -> io::Result<Self> {
        Ok(Self::numbered(rustix::fs::statfs(folder)?.f_type as u32))
    }

    fn numbered(number: u32) -> Self {
        let known = KNOWN.iter().find(|(known, _)| *known == number);
        known.map_or(Self::Local, |(_, kind)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_numbers() {
        assert_eq!(FileSystem::numbered(0x6969), Network("NFS"));
        assert_eq!(FileSystem::numbered(0x9123_683e), CopyOnWrite("btrfs"));
        // ext4, tmpfs, XFS.
        for number in [0xef53, 0x0102_1994, 0x5846_5342] {
            assert_eq!(FileSystem::numbered(number), FileSystem::Local, "{number:x}");
        }
        let file = tempfile::tempfile().unwrap();
        assert!(!matches!(FileSystem::of(&file).unwrap(), Network(_)));
    }
}
