package slackemu

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// block is any of Block Kit that is emulated.
type block struct {
	Type      string    `json:"type"`
	BlockID   string    `json:"block_id"`
	Text      text      `json:"text"`
	Fields    []text    `json:"fields"`
	Elements  []element `json:"elements"`
	Accessory *element  `json:"accessory"`
	AltText   string    `json:"alt_text"`
	Title     text      `json:"title"`
}

// element is a button, an image, or a text of a context block.
type element struct {
	Type     string `json:"type"`
	Text     text   `json:"text"`
	ActionID string `json:"action_id"`
	Value    string `json:"value"`
	Style    string `json:"style"`
	AltText  string `json:"alt_text"`
}

// text is a text object, or a text as such.
type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func (t *text) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &t.Text) == nil {
		return nil
	}
	type object text
	return json.Unmarshal(raw, (*object)(t))
}

// parseBlocks reads blocks that were checked.
func parseBlocks(raw json.RawMessage) []block {
	var blocks []block
	if json.Unmarshal(raw, &blocks) != nil {
		return nil
	}
	return blocks
}

func (b block) buttons() []element {
	var found []element
	for _, e := range b.Elements {
		if e.Type == "button" {
			found = append(found, e)
		}
	}
	if b.Accessory != nil && b.Accessory.Type == "button" {
		found = append(found, *b.Accessory)
	}
	return found
}

// withIDs fills in the block and action IDs that the app left out, as Slack does. It is called with the lock held.
func (s *Server) withIDs(raw json.RawMessage) json.RawMessage {
	var blocks []map[string]any
	if json.Unmarshal(raw, &blocks) != nil {
		return raw
	}
	for _, b := range blocks {
		if b["block_id"] == nil {
			b["block_id"] = s.newID("b")
		}
		elements, _ := b["elements"].([]any)
		for _, e := range append(elements, b["accessory"]) {
			if e, _ := e.(map[string]any); e["type"] == "button" && e["action_id"] == nil {
				e["action_id"] = s.newID("a")
			}
		}
	}
	filled, err := json.Marshal(blocks)
	if err != nil {
		return raw
	}
	return filled
}

// columnWidth is the least of the first column of fields.
const columnWidth = 28

// renderBlocks are the lines that a person would read.
func renderBlocks(blocks []block, names map[string]string) []string {
	var lines []string
	for _, b := range blocks {
		lines = append(lines, b.lines(names)...)
	}
	return lines
}

func (b block) lines(names map[string]string) []string {
	var lines []string
	switch b.Type {
	case "header":
		lines = append(lines, "**"+b.Text.read(names)+"**")
	case "divider":
		lines = append(lines, strings.Repeat("─", 2*columnWidth))
	case "context":
		lines = append(lines, strings.Split(b.contextLine(names), "\n")...)
	case "image":
		lines = append(lines, fmt.Sprintf("[image: %s]", b.AltText))
	case "section", "markdown":
		if b.Text.Text != "" {
			lines = append(lines, strings.Split(b.Text.read(names), "\n")...)
		}
		lines = append(lines, columns(b.Fields, names)...)
	}
	var buttons []string
	for _, e := range b.buttons() {
		buttons = append(buttons, "[ "+e.Text.read(names)+" ]")
	}
	if len(buttons) > 0 {
		lines = append(lines, strings.Join(buttons, " "))
	}
	return lines
}

func (b block) contextLine(names map[string]string) string {
	var parts []string
	for _, e := range b.Elements {
		if e.Type == "image" {
			parts = append(parts, "["+e.AltText+"]")
			continue
		}
		parts = append(parts, text{Type: e.Type, Text: e.Text.Text}.read(names))
	}
	return strings.Join(parts, "  ")
}

// columns sets fields in two columns, as Slack does on a wide screen.
func columns(fields []text, names map[string]string) []string {
	var lines []string
	for i := 0; i < len(fields); i += 2 {
		left := strings.Split(fields[i].read(names), "\n")
		var right []string
		if i+1 < len(fields) {
			right = strings.Split(fields[i+1].read(names), "\n")
		}
		for row := range max(len(left), len(right)) {
			lines = append(lines, strings.TrimRight(pad(at(left, row))+at(right, row), " "))
		}
	}
	return lines
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

func pad(s string) string {
	return s + strings.Repeat(" ", max(columnWidth-utf8.RuneCountInString(s), 2))
}

func joinLines(lines []string) string { return strings.Join(lines, "\n") }
