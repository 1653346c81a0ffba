//! The writer of XML text. It escapes every value.
//!
//! It is for text that is written often or in bulk. A property test compares its meaning with that of `minidom`. A
//! character that XML cannot hold becomes U+FFFD, because it would break the stream for all others on it.

/// Writes elements into one string. The caller has to close each element that it opens.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
}

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer {
            out: String::with_capacity(capacity),
        }
    }

    /// Writes `<name`. Attributes may follow, then [`Writer::content`] or [`Writer::close_empty`].
    pub fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
    }

    /// Writes ` name='value'`.
    pub fn attribute(&mut self, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        escape(&mut self.out, value, true);
        self.out.push('\'');
    }

    /// Writes ` name='value'` if there is a value.
    pub fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.attribute(name, value);
        }
    }

    /// Writes `>`, after the attributes of an element with content.
    pub fn content(&mut self) {
        self.out.push('>');
    }

    /// Writes `/>`, after the attributes of an element without content.
    pub fn close_empty(&mut self) {
        self.out.push_str("/>");
    }

    /// Writes `</name>`.
    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Writes text between tags.
    pub fn text(&mut self, text: &str) {
        escape(&mut self.out, text, false);
    }

    /// Writes XML text as it is.
    pub fn written(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Returns what was written.
    pub fn finish(self) -> String {
        self.out
    }
}

/// Returns `text` as it stands in an attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(&mut out, text, true);
    out
}

/// Whether XML 1.0 can hold every character of `text`.
pub fn can_hold(text: &str) -> bool {
    text.chars()
        .all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..))
}

/// Appends `text`, escaped. In an attribute, line breaks and tabs are escaped as well, because a parser turns them
/// into spaces otherwise (XML 1.0 section 3.3.3).
fn escape(out: &mut String, text: &str, in_attribute: bool) {
    let mut rest = text;
    loop {
        let special = rest.find(|c: char| match c {
            '&' | '<' | '>' | '\r' | '\u{fffe}' | '\u{ffff}' => true,
            '\'' | '"' => in_attribute,
            c => c < ' ' && (in_attribute || !matches!(c, '\n' | '\t')),
        });
        let Some((plain, tail)) = special.and_then(|at| rest.split_at_checked(at)) else {
            out.push_str(rest);
            return;
        };
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some('&') => out.push_str("&amp;"),
            Some('<') => out.push_str("&lt;"),
            Some('>') => out.push_str("&gt;"),
            Some('\'') => out.push_str("&apos;"),
            Some('"') => out.push_str("&quot;"),
            Some('\r') => out.push_str("&#xd;"),
            Some('\n') => out.push_str("&#xa;"),
            Some('\t') => out.push_str("&#x9;"),
            _ => out.push('\u{fffd}'),
        }
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minidom::Element;
    use proptest::prelude::*;

    fn written(attribute: &str, text: &str) -> String {
        let mut writer = Writer::default();
        writer.open("item");
        writer.attribute("xmlns", "x");
        writer.attribute("name", attribute);
        writer.content();
        writer.text(text);
        writer.close("item");
        writer.finish()
    }

    #[test]
    fn markup_in_values_stays_a_value() {
        let text = written("'/><evil a=\"", "</item>&amp;");
        assert_eq!(
            text,
            "<item xmlns='x' name='&apos;/&gt;&lt;evil a=&quot;'>&lt;/item&gt;&amp;amp;</item>"
        );
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let text = written("a\u{0}b\u{1b}", "\u{ffff}x");
        assert_eq!(text, "<item xmlns='x' name='a\u{fffd}b\u{fffd}'>\u{fffd}x</item>");
    }

    proptest! {
        #[test]
        fn r9_every_text_is_read_back_exactly_and_as_minidom_writes_it(
            attribute in any::<String>(), text in any::<String>()
        ) {
            let holds = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
            let replaced = |s: &str| s.chars().map(|c| if holds(c) { c } else { '\u{fffd}' }).collect::<String>();
            let read: Element = written(&attribute, &text).parse().unwrap();
            prop_assert_eq!(read.attr("name").unwrap(), replaced(&attribute));
            prop_assert_eq!(read.text(), replaced(&text));
            let again: Element = String::from(&read).parse().unwrap();
            prop_assert_eq!(again, read);
        }
    }
}
