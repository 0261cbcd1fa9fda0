use super::*;

fn text_of(html: &str) -> String {
    let mut sink = TextSink::new(1_000_000, 10);
    write_fragment(html, &mut sink).unwrap();
    sink.finish().unwrap().text
}

#[test]
fn what_a_browser_does_not_show_is_left_out() {
    let html = "<head><title>T</title><style>p{}</style></head><p>a<script>if (1 < 2) '<p>no'</script>b</p>\
                <noscript>no</noscript><div hidden>no<div>no</div></div><svg><text>no</text></svg><p>c";
    assert_eq!(text_of(html), "ab\n\nc");
}

#[test]
fn blanks_collapse_and_entities_are_decoded() {
    assert_eq!(text_of("<p> M&uuml;hle \n <b>am</b>  Bach&nbsp;&amp; Wehr </p>"), "Mühle am Bach & Wehr");
}

#[test]
fn lists_tables_and_code_keep_their_shape() {
    assert_eq!(text_of("<ol><li>one<ul><li><p>a</p></li></ul></li><li> two</li></ol>"), "1. one\n  - a\n2. two");
    assert_eq!(text_of("<table><tr><th>a</th> <th>b</th></tr><tr><td>1</td><td>2</table>"), "a\tb\n1\t2");
    assert_eq!(text_of("<pre>x\n  y</pre>z"), "x\n  y\n\nz");
}

#[test]
fn a_row_whose_cells_have_paragraphs_is_a_line() {
    let row = |cells: &str| format!("x<table><tr>{cells}</tr><tr><td>1<td>2</table>y");
    let text = text_of(&row("<td>\n <p>a</p>\n </td><td><div><p>b</p></div></td> <td><br>c</td>"));
    assert_eq!(text, "x\n\na\tb\tc\n1\t2\n\ny");
    // A cell that is a page's layout keeps its paragraphs.
    assert_eq!(text_of(&row("<td><p>a</p><p>b</p><td><ul><li>c<li>d</ul>")), "x\n\na\n\nb\t- c\n- d\n1\t2\n\ny");
}

#[test]
fn an_element_of_xml_without_content_takes_none() {
    let mut sink = TextSink::new(1_000, 10);
    write_xhtml("<head><title/><script src='x'/></head><h1/><pre/><p>a  b</p><ul/><p>c</p>", &mut sink).unwrap();
    assert_eq!(sink.finish().unwrap().text, "a b\n\nc");
}

#[test]
fn formulas_are_text() {
    let formula =
        "<math><mi>F</mi><mo>=</mo><mi>m</mi><annotation encoding='application/x-tex'>F=m</annotation></math>";
    assert_eq!(text_of(formula), "F=m");
}

#[test]
fn a_page_is_its_content_and_its_title() {
    let page = "<nav><ul><li>menu</ul></nav><header><h1>The mill</h1><p>banner</header><main><h1>Part</h1><p>The wheel turns.\
                <table><tr><td>1<td>2</table></main><aside>see also</aside><footer>imprint</footer>";
    let mut sink = TextSink::new(1_000, 10);
    let writer = Writer { scope: Scope::of(page), is_page: true, ..Writer::new(&mut sink, false) };
    write(page, writer).unwrap();
    assert_eq!(sink.finish().unwrap().text, "The mill\n\nPart\n\nThe wheel turns.\n\n1\t2");
}

#[test]
fn many_open_elements_are_no_problem() {
    let html = "<div><ul><li><table><tr><td>".repeat(30_000) + "deep";
    assert!(text_of(&html).ends_with("deep"));
}
