//! How documents are fetched and read.

use super::Reader;
use crate::config::{ExtractConfig, FetchConfig, PartsConfig, parse, settings as table};
use crate::fetch::FetchRules;

impl Reader<'_> {
    pub(super) fn extract(&mut self) -> Option<ExtractConfig> {
        let memory_bytes = self.value(&table::EXTRACT_MEMORY, |text| match parse::bytes(text)? {
            size if size < 64 << 20 => Err("is below 64MiB, which leaves no room to parse anything".to_owned()),
            size => Ok(size),
        });
        let cpu_seconds = self.value(&table::EXTRACT_CPU, parse::whole(1, 3600));
        let wall_seconds = self.value(&table::EXTRACT_WALL, parse::whole(1, 3600));
        let warm = self.value(&table::EXTRACT_WARM, parse::whole(0, 64));
        let max_chars = self.value(&table::EXTRACT_CHARS, parse::whole(1000, 200_000_000));
        let parts = self.value(&table::PARTS_MAX, parse::whole(0, 2_000));
        let parts_bytes = self.value(&table::PARTS_MAX_BYTES, parse::bytes);
        let parts_depth = self.value(&table::PARTS_MAX_DEPTH, parse::whole(0, 16));
        let chunk_chars = self.value(&table::CHUNK_CHARS, parse::whole(100, 100_000));
        // More than half would have chunks go on by less than they repeat.
        let most_overlap = chunk_chars.unwrap_or(100_000) / 2;
        let chunk_overlap_chars = self.value(&table::CHUNK_OVERLAP, |text| match parse::whole(0, 50_000)(text)? {
            overlap if overlap > most_overlap => {
                Err(format!("is more than half of MILLRACE_CHUNK_CHARS, which allows {most_overlap} at most"))
            }
            overlap => Ok(overlap),
        });
        Some(ExtractConfig {
            memory_bytes: memory_bytes?,
            cpu_seconds: cpu_seconds?,
            wall_seconds: wall_seconds?,
            warm: warm?,
            max_chars: max_chars?,
            parts: PartsConfig { max: parts?, max_bytes: parts_bytes?, max_depth: parts_depth? },
            chunk_chars: chunk_chars?,
            chunk_overlap_chars: chunk_overlap_chars?,
        })
    }

    pub(super) fn fetch_rules(&mut self) -> Option<FetchRules> {
        let ports = self.value(&table::FETCH_PORTS, parse::ports);
        let allowed = match self.text(&table::FETCH_ALLOW) {
            None => Some(Vec::new()),
            Some(_) => self.value(&table::FETCH_ALLOW, parse::networks),
        };
        Some(FetchRules { ports: ports?, allowed: allowed? })
    }

    pub(super) fn fetch(&mut self) -> Option<FetchConfig> {
        let rules = self.fetch_rules();
        let max_redirects = self.value(&table::FETCH_REDIRECTS, parse::whole(0, 20));
        let connect_timeout = self.value(&table::FETCH_CONNECT, parse::duration);
        let idle_timeout = self.value(&table::FETCH_IDLE, parse::duration);
        let timeout = self.value(&table::FETCH_TIMEOUT, parse::duration);
        let max_bytes = self.value(&table::MAX_UPLOAD_BYTES, parse::bytes);
        Some(FetchConfig {
            rules: rules?,
            max_redirects: max_redirects?,
            connect_timeout: connect_timeout?,
            idle_timeout: idle_timeout?,
            timeout: timeout?,
            max_bytes: max_bytes?,
        })
    }
}
