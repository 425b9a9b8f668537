package slack

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	slackapi "github.com/slack-go/slack"
)

// Slack's limits: https://docs.slack.dev/reference/block-kit/blocks, and for the whole message what it was seen to refuse (about
// 13,200 characters), with room to spare.
const (
	maxBlocks  = 50
	maxSection = 3000
	maxHeader  = 150
	maxMessage = 12000
	// footRoom is kept free in a message for what comes last: who is responsible, and the digest.
	footRoom = 1200
	// maxLine bounds one line among others, maxName one name, and maxList the names in a row after the first.
	maxLine = 2400
	maxName = 340
	maxList = 700
)

// Message is what a message says, within Slack's limits.
type Message struct {
	// Text is what notifications and screen readers get.
	Text   string
	Blocks []slackapi.Block
}

// Escape makes text that may come from anywhere harmless in a message: it mentions nobody, links nowhere, stays on its line, and cannot
// end a code span.
func Escape(text string) string {
	return strings.NewReplacer("`", "'", "&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(strings.Map(inLine, text))
}

// inLine keeps text on its line and in its direction.
func inLine(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
		return ' '
	}
	return r
}

// code shows a name as code.
func code(text string) string { return escapedCode(Escape(text)) }

func escapedCode(text string) string {
	if strings.TrimSpace(text) == "" {
		return "“”"
	}
	return "`" + text + "`"
}

// Mention names a person so that Slack tells them, if the message is a new one.
func Mention(id string) string {
	if !idPattern.MatchString(id) {
		return Escape(id)
	}
	return "<@" + id + ">"
}

// at shows a time in the reader's own time zone.
func at(t time.Time) string {
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time}|%s>", t.Unix(), t.UTC().Format("2006-01-02 15:04 UTC"))
}

// builder puts a message together and keeps count of its size.
type builder struct {
	blocks []slackapi.Block
	size   int
}

func mrkdwn(text string) *slackapi.TextBlockObject {
	// Verbatim: Slack does not look for links and names in it by itself.
	return slackapi.NewTextBlockObject(slackapi.MarkdownType, text, false, true)
}

func plain(text string) *slackapi.TextBlockObject {
	return slackapi.NewTextBlockObject(slackapi.PlainTextType, text, true, false)
}

// header is a line in large letters; it is plain text, which Slack itself escapes.
func (b *builder) header(text string) {
	text = cut(strings.Map(inLine, text), maxHeader)
	b.blocks = append(b.blocks, slackapi.NewHeaderBlock(plain(text)))
	b.size += utf8.RuneCountInString(text)
}

// section is a paragraph. Its text should fit.
func (b *builder) section(text string) {
	text = cutMarked(text, min(maxSection, maxMessage-footRoom-b.size))
	b.blocks = append(b.blocks, slackapi.NewSectionBlock(mrkdwn(text), nil, nil))
	b.size += utf8.RuneCountInString(text)
}

// lines is a paragraph of lines under a title, in as many sections as are needed, as far as the message has room. It returns the lines
// that there was no room for. Reserve is what has to be kept free for what follows.
func (b *builder) lines(title string, lines []string, reserve int) (left []string) {
	for len(lines) > 0 {
		text := title
		n := 0
		for n < len(lines) {
			next := cutMarked(lines[n], maxLine)
			if text != "" {
				next = "\n" + next
			}
			long := utf8.RuneCountInString(text) + utf8.RuneCountInString(next)
			if long > maxSection || b.size+long > maxMessage-max(reserve, footRoom) || len(b.blocks) >= maxBlocks-5 {
				break
			}
			text += next
			n++
		}
		if n == 0 {
			return lines
		}
		b.section(text)
		lines, title = lines[n:], ""
	}
	return nil
}

// some is a paragraph of the first most lines, as far as there is room, which tells how many more there are.
func (b *builder) some(title string, lines []string, most, reserve int) {
	shown := lines[:min(most, len(lines))]
	const more = "… and %d more"
	left := b.lines(title, shown, max(reserve, footRoom)+len(more)+10)
	if n := len(lines) - len(shown) + len(left); n > 0 {
		b.section(fmt.Sprintf(more, n))
	}
}

// context is a line in small letters.
func (b *builder) context(text string) {
	text = cutMarked(text, min(maxSection, maxMessage-b.size))
	b.blocks = append(b.blocks, slackapi.NewContextBlock("", mrkdwn(text)))
	b.size += utf8.RuneCountInString(text)
}

// buttons is a row of buttons.
func (b *builder) buttons(buttons ...*slackapi.ButtonBlockElement) {
	elements := make([]slackapi.BlockElement, len(buttons))
	for i, button := range buttons {
		elements[i] = button
	}
	b.blocks = append(b.blocks, slackapi.NewActionBlock("", elements...))
}

func (b *builder) message(text string) Message {
	return Message{Text: cutMarked(text, maxSection), Blocks: b.blocks}
}

// textMessage is a message of one paragraph of mrkdwn, which the caller has escaped.
func textMessage(text string) Message {
	var b builder
	b.section(text)
	return b.message(text)
}

// linesMessage is a message of lines, as many as it has room for. The first is what notifications get.
func linesMessage(lines []string) Message {
	var b builder
	b.some("", lines, len(lines), 0)
	return b.message(lines[0])
}

// Say is a message of one paragraph that may hold anything.
func Say(format string, args ...any) Message {
	text := fmt.Sprintf(format, args...)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = Escape(l)
	}
	return textMessage(strings.Join(lines, "\n"))
}

// SayLink is Say, and then a link, which Slack makes of nothing else.
func SayLink(url, label, format string, args ...any) Message {
	return textMessage(Escape(fmt.Sprintf(format, args...)) + " <" + Escape(url) + "|" + Escape(label) + ">")
}

// cut shortens text to so many characters.
func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// cutMarked shortens mrkdwn to so many characters, at a line's end if one is near. No mark-up is cut in two.
func cutMarked(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	short := string([]rune(text)[:max(0, most-2)])
	if i := strings.LastIndexByte(short, '\n'); i > len(short)/2 {
		return short[:i] + "\n…"
	}
	if i := strings.LastIndexByte(short, '<'); i > strings.LastIndexByte(short, '>') {
		short = short[:i]
	}
	if i := strings.LastIndexByte(short, '&'); i > strings.LastIndexByte(short, ';') {
		short = short[:i]
	}
	if strings.Count(short, "`")%2 == 1 {
		return short + "…`"
	}
	return short + "…"
}
