//! Ids as clients see them: numbers, and Salesforce's 18 characters.
//!
//! Salesforce's are a prefix for the type, twelve digits of base 62 and three characters that tell the case of the fifteen before them, so
//! that programs which do not tell upper from lower case can tell them apart ("What are Salesforce ID's composed of?", its help).

use crate::provider::{Object, Provider};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CASES: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
const WIDTH: usize = 12;

fn prefix(object: Object) -> &'static str {
    match object {
        Object::Contacts => "003",
        Object::Companies => "001",
        Object::Deals => "006",
        Object::Notes => "002",
        Object::Tasks => "00T",
        Object::Owners => "005",
    }
}

/// The id as the vendor gives it.
pub(crate) fn shown_id(provider: Provider, object: Object, id: u64) -> String {
    if provider == Provider::Salesforce { salesforce_id(prefix(object), id) } else { id.to_string() }
}

/// The number of an id as a client gives it. Salesforce also takes the first fifteen characters.
pub(crate) fn read_id(provider: Provider, object: Object, text: &str) -> Option<u64> {
    if provider != Provider::Salesforce {
        return text.parse().ok();
    }
    let number = text.strip_prefix(prefix(object))?;
    let digits = number.get(..WIDTH)?;
    let mut id = 0_u64;
    for byte in digits.bytes() {
        let digit = DIGITS.iter().position(|one| *one == byte)?;
        id = id.checked_mul(62)?.checked_add(digit as u64)?;
    }
    let is_whole = text.len() == 15 || salesforce_id(prefix(object), id) == text;
    is_whole.then_some(id)
}

/// An id of 18 characters.
pub(crate) fn salesforce_id(prefix: &str, id: u64) -> String {
    let mut digits = [b'0'; WIDTH];
    let mut rest = id;
    for place in digits.iter_mut().rev() {
        *place = DIGITS[usize::try_from(rest % 62).unwrap_or(0)];
        rest /= 62;
    }
    let shown: String = prefix.chars().chain(digits.iter().map(|digit| char::from(*digit))).collect();
    let cases = cases(&shown);
    shown + &cases
}

/// Three characters that tell which of fifteen are in upper case.
fn cases(id: &str) -> String {
    let group = |group: usize| {
        let bits = id.bytes().skip(group * 5).take(5).enumerate();
        let case: usize = bits.map(|(bit, byte)| usize::from(byte.is_ascii_uppercase()) << bit).sum();
        char::from(CASES[case])
    };
    (0..3).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_salesforce_is_read_as_it_was_shown_and_by_its_first_fifteen_characters() {
        for id in [1, 61, 62, 123_456_789_012] {
            let shown = shown_id(Provider::Salesforce, Object::Contacts, id);
            assert_eq!(shown.len(), 18);
            assert_eq!(read_id(Provider::Salesforce, Object::Contacts, &shown), Some(id));
            assert_eq!(read_id(Provider::Salesforce, Object::Contacts, &shown[..15]), Some(id));
            assert_eq!(read_id(Provider::Salesforce, Object::Deals, &shown), None);
        }
    }

    /// A published pair: 0017000000hOChE and 0017000000hOChEAAW.
    #[test]
    fn the_last_three_characters_tell_the_case_of_the_others() {
        assert_eq!(cases("0017000000hOChE"), "AAW");
    }
}
