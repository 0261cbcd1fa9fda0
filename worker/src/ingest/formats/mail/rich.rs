//! Rich text as Outlook keeps it: compressed in a way of its own ([MS-OXRTFCP]).

/// What the dictionary holds at the beginning ([MS-OXRTFCP] 2.1.2.1).
const DICTIONARY: &[u8] = b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \
\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";
const WINDOW: usize = 4_096;

/// The rich text; `None` where it is not what it says. A reference is two bytes and stands for 17 at most, which bounds what comes out.
pub(super) fn decompress(packed: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u32::from_le_bytes(packed.get(at..at + 4)?.try_into().ok()?));
    let (length, kind, body) = (number(4)? as usize, packed.get(8..12)?, packed.get(16..)?);
    match kind {
        b"MELA" => return Some(body[..body.len().min(length)].to_vec()),
        b"LZFu" => {}
        _ => return None,
    }
    let mut window = [b' '; WINDOW];
    window[..DICTIONARY.len()].copy_from_slice(DICTIONARY);
    let (mut place, mut unpacked) = (DICTIONARY.len(), Vec::new());
    let mut bytes = body.iter().copied();
    let put = |byte: u8, unpacked: &mut Vec<u8>, place: &mut usize, window: &mut [u8; WINDOW]| {
        unpacked.push(byte);
        window[*place] = byte;
        *place = (*place + 1) % WINDOW;
    };
    while unpacked.len() < length {
        let Some(kinds) = bytes.next() else { break };
        for bit in 0..8 {
            let Some(first) = bytes.next() else { break };
            if kinds >> bit & 1 == 0 {
                put(first, &mut unpacked, &mut place, &mut window);
                continue;
            }
            let Some(second) = bytes.next() else { break };
            let reference = usize::from(first) << 8 | usize::from(second);
            let (from, count) = (reference >> 4, (reference & 15) + 2);
            if from == place {
                return Some(unpacked);
            }
            for step in 0..count {
                put(window[(from + step) % WINDOW], &mut unpacked, &mut place, &mut window);
            }
        }
    }
    Some(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of [MS-OXRTFCP] 3.1.
    #[test]
    fn the_example_of_the_specification_is_unpacked() {
        let packed = [
            0x2d, 0x00, 0x00, 0x00, 0x2b, 0x00, 0x00, 0x00, 0x4c, 0x5a, 0x46, 0x75, 0xf1, 0xc5, 0xc7, 0xa7, 0x03, 0x00,
            0x0a, 0x00, 0x72, 0x63, 0x70, 0x67, 0x31, 0x32, 0x35, 0x42, 0x32, 0x0a, 0xf3, 0x20, 0x68, 0x65, 0x6c, 0x09,
            0x00, 0x20, 0x62, 0x77, 0x05, 0xb0, 0x6c, 0x64, 0x7d, 0x0a, 0x80, 0x0f, 0xa0,
        ];
        let text = decompress(&packed).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), "{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n");
        for cut in 0..packed.len() {
            let _ = decompress(&packed[..cut]);
        }
    }
}
