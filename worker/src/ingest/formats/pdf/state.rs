//! The graphics state as far as text depends on it, and the operators that do nothing but change it.

use otf_pdf_content::Matrix;
use otf_pdf_doc::Store;
use otf_pdf_syntax::Object;

use super::font::FaceId;
use super::tokens::Operands;

/// What `q` saves.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub matrix: Matrix,
    /// The box that the clip lies in, in page space.
    clip: Option<[f64; 4]>,
    pub font: Option<FaceId>,
    pub size: f64,
    pub character_spacing: f64,
    pub word_spacing: f64,
    /// The horizontal scaling; 1 is none.
    pub scale: f64,
    pub leading: f64,
    pub rise: f64,
}

impl State {
    pub fn new(matrix: Matrix) -> Self {
        Self {
            matrix,
            clip: None,
            font: None,
            size: 0.0,
            character_spacing: 0.0,
            word_spacing: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        }
    }

    /// Narrows the clip to a box of user space.
    pub fn clip_to(&mut self, [x0, y0, x1, y1]: [f64; 4]) {
        let mut edges = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
        for corner in [(x0, y0), (x1, y0), (x0, y1), (x1, y1)] {
            let (x, y) = self.matrix.apply(corner.0, corner.1);
            edges = [edges[0].min(x), edges[1].min(y), edges[2].max(x), edges[3].max(y)];
        }
        let old = self.clip.unwrap_or([f64::MIN, f64::MIN, f64::MAX, f64::MAX]);
        self.clip = Some([old[0].max(edges[0]), old[1].max(edges[1]), old[2].min(edges[2]), old[3].min(edges[3])]);
    }

    /// Half a point of slack takes in what rounding moved over the edge.
    pub fn shows(&self, (x, y): (f64, f64)) -> bool {
        const SLACK: f64 = 0.5;
        self.clip.is_none_or(|[left, bottom, right, top]| {
            x >= left - SLACK && x <= right + SLACK && y >= bottom - SLACK && y <= top + SLACK
        })
    }
}

/// The matrices of a text object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub text: Matrix,
    pub line: Matrix,
}

impl Cursor {
    pub const START: Self = Self { text: Matrix::IDENTITY, line: Matrix::IDENTITY };

    pub fn move_line(&mut self, x: f64, y: f64) {
        self.line = Matrix::translate(x, y).then(&self.line);
        self.text = self.line;
    }
}

/// The box around the path that is being built, in user space.
#[derive(Debug, Default)]
pub(super) struct Path {
    edges: Option<[f64; 4]>,
    /// Whether it narrows the clip when it ends.
    pub clips: bool,
}

impl Path {
    pub fn rectangle(&mut self, numbers: Option<[f64; 4]>) {
        if let Some([x, y, width, height]) = numbers {
            self.points(Some([x, y, x + width, y + height]));
        }
    }

    /// Takes points: pairs of x and y.
    pub fn points<const N: usize>(&mut self, numbers: Option<[f64; N]>) {
        for pair in numbers.iter().flat_map(|numbers| numbers.chunks_exact(2)) {
            let [left, bottom, right, top] = self.edges.unwrap_or([pair[0], pair[1], pair[0], pair[1]]);
            self.edges = Some([left.min(pair[0]), bottom.min(pair[1]), right.max(pair[0]), top.max(pair[1])]);
        }
    }

    pub fn is_drawn(&self) -> bool {
        self.edges.is_some()
    }

    /// The path was painted, or not; either way it narrows the clip if it was told to.
    pub fn end(&mut self, state: &mut State) {
        if let (true, Some(edges)) = (self.clips, self.edges) {
            state.clip_to(edges);
        }
        *self = Self::default();
    }
}

/// The operators of text state and text position; any other does nothing.
pub(super) fn set_text_state(operator: &[u8], operands: &Operands<'_>, state: &mut State, cursor: &mut Cursor) {
    let one = || operands.numbers().map(|[number]| number);
    let set = |field: &mut f64, value: Option<f64>| *field = value.unwrap_or(*field);
    match operator {
        b"Tc" => set(&mut state.character_spacing, one()),
        b"Tw" => set(&mut state.word_spacing, one()),
        b"Tz" => set(&mut state.scale, one().map(|percent| percent / 100.0)),
        b"TL" => set(&mut state.leading, one()),
        b"Ts" => set(&mut state.rise, one()),
        b"Td" | b"TD" => {
            if let Some([x, y]) = operands.numbers() {
                if operator == b"TD" {
                    state.leading = -y;
                }
                cursor.move_line(x, y);
            }
        }
        b"Tm" => {
            if let Some(matrix) = operands.numbers().map(matrix) {
                *cursor = Cursor { text: matrix, line: matrix };
            }
        }
        b"T*" => cursor.move_line(0.0, -state.leading),
        _ => {}
    }
}

pub(super) fn matrix([a, b, c, d, e, f]: [f64; 6]) -> Matrix {
    Matrix::new(a, b, c, d, e, f)
}

/// An array of exactly so many finite numbers.
pub(super) fn numbers<const N: usize>(store: &Store, array: Option<&Object>) -> Option<[f64; N]> {
    let array = store.resolve(array?);
    let values: Vec<f64> = array.as_array()?.iter().map(|item| store.resolve(item).as_f64()).collect::<Option<_>>()?;
    values.try_into().ok().filter(|values: &[f64; N]| values.iter().all(|value| value.is_finite()))
}
