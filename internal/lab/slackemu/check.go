package slackemu

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// checker collects what Slack would say against the blocks of a message.
type checker struct {
	problems []string
	chars    int // of all texts
	blockIDs map[string]bool
}

// checkBlocks returns the refusal of a message with such blocks, if Slack would refuse it. The limits are those of Block
// Kit's reference.
func checkBlocks(raw json.RawMessage) error {
	var blocks []map[string]any
	if err := json.Unmarshal(raw, &blocks); err != nil {
		return invalid("invalid_blocks_format", err.Error())
	}
	c := &checker{blockIDs: map[string]bool{}}
	c.atMost("/blocks", len(blocks), 50)
	for i, b := range blocks {
		c.block(fmt.Sprintf("/blocks/%d", i), b)
	}
	if len(c.problems) > 0 {
		return invalid("invalid_blocks", c.problems...)
	}
	if c.chars > maxBlocksText {
		return invalid("msg_blocks_too_long", fmt.Sprintf("the texts of all blocks have %d characters", c.chars))
	}
	return nil
}

func (c *checker) fail(at, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...)+" [json-pointer:"+at+"]")
}

func (c *checker) atMost(at string, items, limit int) {
	if items > limit {
		c.fail(at, "no more than %d items allowed", limit)
	}
}

func (c *checker) block(at string, b map[string]any) {
	if id := c.short(at+"/block_id", b["block_id"], 255); id != "" {
		if c.blockIDs[id] {
			c.fail(at+"/block_id", "block_id already exists: %s", id)
		}
		c.blockIDs[id] = true
	}
	switch kind := b["type"]; kind {
	case "section":
		c.keys(at, b, "text", "fields", "accessory", "expand")
		c.section(at, b)
	case "header":
		c.keys(at, b, "text", "level")
		c.text(at+"/text", b["text"], 150, "plain_text")
	case "context":
		c.keys(at, b, "elements")
		c.context(at+"/elements", b["elements"])
	case "actions":
		c.keys(at, b, "elements")
		c.actions(at+"/elements", b["elements"])
	case "image":
		c.keys(at, b, "image_url", "alt_text", "title")
		c.image(at, b)
	case "markdown":
		c.keys(at, b, "text")
		c.chars += utf8.RuneCountInString(c.long(at+"/text", b["text"], 12_000))
	case "divider":
		c.keys(at, b)
	default:
		c.fail(at+"/type", "unsupported type: %v", kind)
	}
}

func (c *checker) section(at string, b map[string]any) {
	if b["text"] == nil && b["fields"] == nil {
		c.fail(at, "must define either `text` or `fields`")
	}
	if b["text"] != nil {
		c.text(at+"/text", b["text"], 3000, "plain_text", "mrkdwn")
	}
	if b["fields"] != nil {
		for i, f := range c.list(at+"/fields", b["fields"], 10) {
			c.text(fmt.Sprintf("%s/fields/%d", at, i), f, 2000, "plain_text", "mrkdwn")
		}
	}
	if b["accessory"] != nil {
		c.element(at+"/accessory", b["accessory"], map[string]bool{}, "button", "image")
	}
}

func (c *checker) context(at string, elements any) {
	for i, e := range c.list(at, elements, 10) {
		at := fmt.Sprintf("%s/%d", at, i)
		if e, _ := e.(map[string]any); e["type"] == "image" {
			c.element(at, e, nil, "image")
			continue
		}
		c.text(at, e, 3000, "plain_text", "mrkdwn")
	}
}

func (c *checker) actions(at string, elements any) {
	ids := map[string]bool{}
	for i, e := range c.list(at, elements, 25) {
		c.element(fmt.Sprintf("%s/%d", at, i), e, ids, "button")
	}
}

// element checks a button or an image; ids are the action IDs that the block has so far.
func (c *checker) element(at string, raw any, ids map[string]bool, kinds ...string) {
	e, ok := raw.(map[string]any)
	if !ok {
		c.fail(at, "must be an object")
		return
	}
	kind, _ := e["type"].(string)
	switch {
	case !slices.Contains(kinds, kind):
		c.fail(at+"/type", "unsupported type: %v", e["type"])
	case kind == "image":
		c.keys(at, e, "image_url", "alt_text")
		c.image(at, e)
	default:
		c.button(at, e, ids)
	}
}

func (c *checker) button(at string, e map[string]any, ids map[string]bool) {
	c.keys(at, e, "text", "action_id", "url", "value", "style", "confirm", "accessibility_label")
	c.text(at+"/text", e["text"], 75, "plain_text")
	c.short(at+"/value", e["value"], 2000)
	c.short(at+"/url", e["url"], 3000)
	c.short(at+"/accessibility_label", e["accessibility_label"], 75)
	c.style(at, e)
	if id := c.short(at+"/action_id", e["action_id"], 255); id != "" {
		if ids[id] {
			c.fail(at+"/action_id", "action_id already exists: %s", id)
		}
		ids[id] = true
	}
	if e["confirm"] != nil {
		c.confirm(at+"/confirm", e["confirm"])
	}
}

func (c *checker) confirm(at string, raw any) {
	dialog, ok := raw.(map[string]any)
	if !ok {
		c.fail(at, "must be an object")
		return
	}
	c.unknownKeys(at, dialog, "title", "text", "confirm", "deny", "style")
	c.text(at+"/title", dialog["title"], 100, "plain_text")
	c.text(at+"/text", dialog["text"], 300, "plain_text", "mrkdwn")
	c.text(at+"/confirm", dialog["confirm"], 30, "plain_text")
	c.text(at+"/deny", dialog["deny"], 30, "plain_text")
	c.style(at, dialog)
}

func (c *checker) style(at string, e map[string]any) {
	if style, given := e["style"]; given && style != "primary" && style != "danger" {
		c.fail(at+"/style", "must be one of primary, danger; not %v", style)
	}
}

func (c *checker) image(at string, e map[string]any) {
	c.long(at+"/image_url", e["image_url"], 3000)
	c.long(at+"/alt_text", e["alt_text"], 2000)
	if e["title"] != nil {
		c.text(at+"/title", e["title"], 2000, "plain_text")
	}
}

// text checks a text object.
func (c *checker) text(at string, raw any, limit int, kinds ...string) {
	t, ok := raw.(map[string]any)
	if !ok {
		c.fail(at, "missing required field: a text object")
		return
	}
	kind, _ := t["type"].(string)
	if !slices.Contains(kinds, kind) {
		c.fail(at+"/type", "must be one of %v, not %v", kinds, t["type"])
	}
	if kind == "mrkdwn" {
		c.unknownKeys(at, t, "type", "text", "verbatim")
	} else {
		c.unknownKeys(at, t, "type", "text", "emoji")
	}
	c.chars += utf8.RuneCountInString(c.long(at+"/text", t["text"], limit))
}

// long checks a text that has to be there.
func (c *checker) long(at string, raw any, limit int) string {
	if raw == nil || raw == "" {
		c.fail(at, "must be more than 0 characters")
		return ""
	}
	return c.short(at, raw, limit)
}

// short checks a text that may be left out.
func (c *checker) short(at string, raw any, limit int) string {
	if raw == nil {
		return ""
	}
	text, ok := raw.(string)
	if !ok {
		c.fail(at, "must be a string")
	}
	if utf8.RuneCountInString(text) > limit {
		c.fail(at, "must be less than %d characters", limit+1)
	}
	return text
}

func (c *checker) list(at string, raw any, limit int) []any {
	items, _ := raw.([]any)
	if len(items) == 0 {
		c.fail(at, "must have at least 1 item")
	}
	c.atMost(at, len(items), limit)
	return items
}

func (c *checker) keys(at string, b map[string]any, known ...string) {
	c.unknownKeys(at, b, append(known, "type", "block_id")...)
}

func (c *checker) unknownKeys(at string, o map[string]any, known ...string) {
	for _, k := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(known, k) {
			c.fail(at, "invalid additional property: %s", k)
		}
	}
}
