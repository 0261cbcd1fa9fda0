//! Outlook items, made as [MS-OXMSG] has them: what Outlook itself writes could not be had for this repository.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cfb::{CompoundFile, Version};

/// An item or an attachment that is being written.
pub struct Item {
    file: CompoundFile<Cursor<Vec<u8>>>,
    /// The storage that is being filled.
    at: PathBuf,
}

impl Item {
    /// Begins an item, with what stands in its property stream: tags and values.
    pub fn new(short: &[(u32, u64)]) -> Self {
        let file = CompoundFile::create_with_version(Version::V3, Cursor::new(Vec::new())).unwrap();
        let mut item = Self { file, at: PathBuf::from("/") };
        item.properties(32, short);
        item
    }

    fn stream(&mut self, name: &str, content: &[u8]) {
        self.file.create_stream(self.at.join(name)).unwrap().write_all(content).unwrap();
    }

    fn properties(&mut self, header: usize, short: &[(u32, u64)]) {
        let mut content = vec![0; header];
        for (tag, value) in short {
            content.extend(tag.to_le_bytes());
            content.extend(6_u32.to_le_bytes());
            content.extend(value.to_le_bytes());
        }
        self.stream("__properties_version1.0", &content);
    }

    pub fn text(mut self, number: u16, text: &str) -> Self {
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.stream(&format!("__substg1.0_{number:04X}001F"), &wide);
        self
    }

    pub fn narrow(mut self, number: u16, text: &[u8]) -> Self {
        self.stream(&format!("__substg1.0_{number:04X}001E"), text);
        self
    }

    pub fn binary(mut self, number: u16, bytes: &[u8]) -> Self {
        self.stream(&format!("__substg1.0_{number:04X}0102"), bytes);
        self
    }

    fn enter(&mut self, name: &str) {
        self.at.push(name);
        self.file.create_storage(&self.at).unwrap();
        // The same item is the same file.
        self.file.set_created_time(&self.at, SystemTime::UNIX_EPOCH).unwrap();
        self.file.set_modified_time(&self.at, SystemTime::UNIX_EPOCH).unwrap();
    }

    /// Attaches a file.
    pub fn attach(mut self, number: u32, name: &str, content: &[u8]) -> Self {
        self.enter(&format!("__attach_version1.0_#{number:08X}"));
        self.properties(8, &[]);
        self = self.text(0x3707, name).binary(0x3701, content);
        self.at.pop();
        self
    }

    /// Attaches an item, which `fill` writes.
    pub fn attach_item(mut self, number: u32, name: &str, fill: impl FnOnce(Self) -> Self) -> Self {
        let outer = self.at.clone();
        self.enter(&format!("__attach_version1.0_#{number:08X}"));
        self.properties(8, &[]);
        self = self.text(0x3001, name);
        self.enter("__substg1.0_3701000D");
        self.properties(24, &[]);
        self = fill(self);
        self.at = outer;
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.file.set_created_time(Path::new("/"), SystemTime::UNIX_EPOCH).unwrap();
        self.file.set_modified_time(Path::new("/"), SystemTime::UNIX_EPOCH).unwrap();
        self.file.flush().unwrap();
        self.file.into_inner().into_inner()
    }
}

/// A time as properties have it: units of 100 ns since 1601.
pub fn filetime(unix_seconds: i64) -> u64 {
    u64::try_from((unix_seconds + 11_644_473_600) * 10_000_000).unwrap()
}

/// The item of `fixtures/documents`.
pub fn fixture() -> Vec<u8> {
    Item::new(&[(0x0039_0040, filetime(1_772_438_100)), (0x3fde_0003, 65_001)])
        .text(0x0037, "Revisione della turbina")
        .text(0x0c1a, "La mugnaia")
        .text(0x0c1f, "/O=CANALE/OU=ACQUE/CN=MUGNAIA")
        .text(0x5d01, "mugnaia@example.org")
        .text(0x0e04, "Officina del canale; Custode")
        .text(0x0e03, "Archivio")
        .text(
            0x1000,
            "Buongiorno,\r\n\r\nla turbina va fermata giovedì: il cuscinetto superiore scalda oltre i sessanta gradi.\r\n\
             Il verbale e i livelli sono allegati.\r\n\r\nLa mugnaia\r\n",
        )
        .binary(0x1013, "<html><body><p>Non serve: c’è il testo.</p></body></html>".as_bytes())
        .attach(0, "livelli.csv", b"giorno;livello;paratoia\r\n1;0,82;aperta\r\n2;0,86;aperta\r\n3;0,91;chiusa\r\n")
        .attach_item(1, "Richiesta di sopralluogo", |item| {
            item.text(0x0037, "Richiesta di sopralluogo")
                .text(0x0c1a, "Custode")
                .text(0x1000, "Il rumore viene da sotto la ruota, si sente fino alla strada.\r\n")
                .attach(0, "nota.txt", "Una nota dentro una lettera dentro un’altra.\n".as_bytes())
        })
        .finish()
}
