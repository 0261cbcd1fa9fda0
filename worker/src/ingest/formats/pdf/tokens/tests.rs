use super::*;

/// Every operator with its operands, in a form that is easy to compare.
fn read(content: &str) -> Vec<String> {
    let mut tokens = Tokens::new(content.as_bytes());
    let mut operators = Vec::new();
    while let Some(operator) = tokens.next_operator() {
        let mut line: Vec<String> = Vec::new();
        for operand in tokens.operands.all() {
            line.push(match operand {
                Operand::Number(number) => number.to_string(),
                Operand::Name(name) => format!("/{}", String::from_utf8_lossy(&decoded_name(name))),
                Operand::String(range) => {
                    format!("({})", String::from_utf8_lossy(tokens.operands.string(range).unwrap()))
                }
                Operand::Dict(dict) => String::from_utf8_lossy(dict).into_owned(),
                Operand::Other => "?".to_owned(),
            });
        }
        line.push(String::from_utf8_lossy(operator).into_owned());
        operators.push(line.join(" "));
    }
    operators
}

#[test]
fn operators_come_with_their_operands() {
    assert_eq!(
        read("q 1 0 0 -1.5 +2 .25 cm/F1 12 Tf[(a)-120(b)]TJ T*(c)' Q"),
        ["q", "1 0 0 -1.5 2 0.25 cm", "/F1 12 Tf", "(a) -120 (b) TJ", "T*", "(c) '", "Q"]
    );
}

#[test]
fn strings_are_decoded() {
    assert_eq!(
        read(
            r"(a\(b\)(c)\101\n\) \
d) Tj <48 65 6c6C 6> Tj"
        ),
        ["(a(b)(c)A\n) d) Tj", "(Hell`) Tj"]
    );
    assert_eq!(read("(no end"), Vec::<String>::new());
}

#[test]
fn dictionaries_are_kept_whole() {
    assert_eq!(
        read("/Span << /ActualText (x >> y) /A << /B 1 >> >> BDC EMC"),
        ["/Span << /ActualText (x >> y) /A << /B 1 >> >> BDC", "EMC"]
    );
    assert_eq!(
        read("/Span<</A<</B<2>>>/ActualText<FEFF0041>>>BDC EMC"),
        ["/Span <</A<</B<2>>>/ActualText<FEFF0041>>> BDC", "EMC"]
    );
    assert_eq!(read("/Span <</ActualText<FE"), Vec::<String>::new());
}

#[test]
fn an_inline_image_is_one_operator() {
    assert_eq!(read("BI /W 2 /H 2 ID \u{1}EI\u{2} Tj (x) EI Q (after) Tj"), ["/W 2 /H 2 BI", "Q", "(after) Tj"]);
}

#[test]
fn an_inline_image_ends_where_its_end_is_hard_to_tell() {
    assert_eq!(read("BI ID abc~>EI (after) Tj"), ["BI", "(after) Tj"]);
    assert_eq!(read("BI ID \u{1} EI(\u{2}) Tj (x) EI (\u{80}) Tj"), ["BI", "(\u{80}) Tj"]);
    assert_eq!(read("BI ID no end"), ["BI"]);
}

#[test]
fn rubbish_is_stepped_over() {
    assert_eq!(read("]] >> ) } 1 -- 2 Td % comment Tj\n/A#42 gs"), ["1 -0 2 Td", "/AB gs"]);
    assert_eq!(read("<< /Open ("), Vec::<String>::new());
}
