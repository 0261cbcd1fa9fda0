//! Names and texts as accounts have them: several scripts, marks, apostrophes, emoji, and things that look like markup.

pub(super) const FIRST_NAMES: [&str; 24] = [
    "Anna",
    "José",
    "Zoë",
    "Søren",
    "Łukasz",
    "Анна",
    "Дмитро",
    "Ольга",
    "明",
    "小丽",
    "さくら",
    "ヒロシ",
    "민준",
    "محمد",
    "שרה",
    "Ελένη",
    "สมชาย",
    "Nguyễn",
    "D'Arcy",
    "Jean-Luc",
    "Björk",
    "அருண்",
    "Émilie",
    "Max",
];

pub(super) const LAST_NAMES: [&str; 24] = [
    "Müller",
    "García",
    "O'Neill",
    "Åkesson",
    "Wójcik",
    "Іваненко",
    "Смирнова",
    "Кузнецов",
    "王",
    "李",
    "山田",
    "佐藤",
    "김",
    "الأحمد",
    "כהן",
    "Παπαδόπουλος",
    "ศรีสุข",
    "Trần",
    "van der Berg",
    "Smith & Sons",
    "Lee",
    "Muñoz",
    "Çelik",
    "X",
];

pub(super) const COMPANIES: [&str; 16] = [
    "Acme",
    "Globex",
    "ООО «Ромашка»",
    "株式会社テスト",
    "Müller & Söhne",
    "شركة النور",
    "Śnieżka",
    "Initech",
    "北京科技",
    "Ünal İnşaat",
    "O'Reilly's",
    "Café Olé ☕",
    "\"Quoted\" Ltd",
    "<b>Bold</b> Inc",
    "A/B; C, D",
    "Vandelay",
];

pub(super) const COMPANY_ENDS: [&str; 5] = ["GmbH", "Ltd", "S.A.", "LLC", "🚀"];

pub(super) const JOB_TITLES: [&str; 6] =
    ["CEO", "Head of Purchasing", "директор", "営業部長", "Ingeniera de Ventas", "R&D / QA"];

pub(super) const DEALS: [&str; 8] = [
    "Renewal",
    "Pilot 2026",
    "Поставка",
    "見積もり",
    "Upsell — phase 2",
    "Website redesign 🎨",
    "100% off?",
    "C:\\temp\\deal",
];

pub(super) const CURRENCIES: [&str; 4] = ["EUR", "USD", "UAH", "JPY"];

pub(super) const SENTENCES: [&str; 8] = [
    "Called, nobody answered.",
    "Wants an offer until Friday & a <discount>.",
    "Перезвонить в понедельник.",
    "請求書を送ってください。",
    "Met at the fair 🎉, asked for \"everything\".",
    "Line one\nLine two\r\n\tindented",
    "اتصل لاحقًا",
    "Path: C:\\new\\table, 50% \\u0041.",
];

pub(super) const COLOURS: [&str; 4] = ["blau", "зелёный", "青", "magenta"];
pub(super) const TIERS: [&str; 3] = ["Bronze", "Silver", "Gold"];
pub(super) const INTERESTS: [&str; 4] = ["Sailing", "Шахматы", "Tea, green", "R&D"];
