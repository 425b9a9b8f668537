package slackemu

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/slack-go/slack"
)

// blocksOf is JSON of n equal blocks.
func blocksOf(n int, block string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(block+",", n), ",") + "]"
}

func sectionJSON(chars int) string {
	return fmt.Sprintf(`{"type":"section","text":{"type":"mrkdwn","text":%q}}`, strings.Repeat("ü", chars))
}

func actionsJSON(button string) string {
	return fmt.Sprintf(`{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"OK"},%s}]}`, button)
}

func confirmJSON(title, text, confirm string) string {
	return actionsJSON(fmt.Sprintf(`"confirm":{"title":{"type":"plain_text","text":%q},"text":{"type":"mrkdwn","text":%q},
		"confirm":{"type":"plain_text","text":%q},"deny":{"type":"plain_text","text":"No"}}`, title, text, confirm))
}

func TestRefusedMessages(t *testing.T) {
	const (
		divider = `{"type":"divider"}`
		field   = `{"type":"mrkdwn","text":"x"}`
		press   = `{"type":"button","text":{"type":"plain_text","text":"OK"}}`
	)
	long := func(n int) string { return strings.Repeat("x", n) }
	list := func(block, items, item string, n int) string {
		return fmt.Sprintf(`[{"type":%q,%q:%s}]`, block, items, blocksOf(n, item))
	}
	for name, test := range map[string]struct {
		text, blocks, metadata string
		want                   string // empty: accepted
	}{
		"no text":             {want: "no_text"},
		"no text, no block":   {blocks: "[]", want: "no_text"},
		"longest text":        {text: long(40_000)},
		"text too long":       {text: long(40_001), want: "msg_too_long"},
		"not JSON":            {blocks: "nonsense", want: "invalid_blocks_format"},
		"not a list":          {blocks: divider, want: "invalid_blocks_format"},
		"50 blocks":           {blocks: blocksOf(50, divider)},
		"51 blocks":           {blocks: blocksOf(51, divider), want: "invalid_blocks: no more than 50 items allowed [json-pointer:/blocks]"},
		"unknown block":       {blocks: `[{"type":"rich_text"}]`, want: "invalid_blocks: unsupported type: rich_text [json-pointer:/blocks/0/type]"},
		"unknown field":       {blocks: `[{"type":"divider","text":"x"}]`, want: "invalid_blocks: invalid additional property: text"},
		"longest section":     {blocks: blocksOf(1, sectionJSON(3000))},
		"section too long":    {blocks: blocksOf(1, sectionJSON(3001)), want: "invalid_blocks: must be less than 3001 characters [json-pointer:/blocks/0/text/text]"},
		"empty section":       {blocks: blocksOf(1, sectionJSON(0)), want: "invalid_blocks: must be more than 0 characters"},
		"section of nothing":  {blocks: `[{"type":"section"}]`, want: "invalid_blocks: must define either `text` or `fields`"},
		"text as such":        {blocks: `[{"type":"section","text":"x"}]`, want: "invalid_blocks: missing required field"},
		"emoji in mrkdwn":     {blocks: `[{"type":"section","text":{"type":"mrkdwn","text":"x","emoji":true}}]`, want: "invalid additional property: emoji"},
		"10 fields":           {blocks: list("section", "fields", field, 10)},
		"11 fields":           {blocks: list("section", "fields", field, 11), want: "invalid_blocks: no more than 10 items"},
		"field too long":      {blocks: list("section", "fields", fmt.Sprintf(`{"type":"mrkdwn","text":%q}`, long(2001)), 1), want: "must be less than 2001"},
		"header in mrkdwn":    {blocks: `[{"type":"header","text":{"type":"mrkdwn","text":"x"}}]`, want: "must be one of [plain_text], not mrkdwn"},
		"header too long":     {blocks: fmt.Sprintf(`[{"type":"header","text":{"type":"plain_text","text":%q}}]`, long(151)), want: "must be less than 151"},
		"25 buttons":          {blocks: list("actions", "elements", press, 25)},
		"26 buttons":          {blocks: list("actions", "elements", press, 26), want: "no more than 25 items allowed [json-pointer:/blocks/0/elements]"},
		"no buttons":          {blocks: list("actions", "elements", press, 0), want: "must have at least 1 item"},
		"unknown element":     {blocks: list("actions", "elements", `{"type":"overflow"}`, 1), want: "unsupported type: overflow"},
		"10 in a context":     {blocks: list("context", "elements", field, 10)},
		"11 in a context":     {blocks: list("context", "elements", field, 11), want: "no more than 10 items"},
		"button in a context": {blocks: list("context", "elements", press, 1), want: "must be one of [plain_text mrkdwn], not button"},
		"button text in mrkdwn": {
			blocks: list("actions", "elements", `{"type":"button","text":{"type":"mrkdwn","text":"OK"}}`, 1), want: "must be one of [plain_text]"},
		"button text too long": {
			blocks: list("actions", "elements", fmt.Sprintf(`{"type":"button","text":{"type":"plain_text","text":%q}}`, long(76)), 1),
			want:   "must be less than 76"},
		"value too long":     {blocks: "[" + actionsJSON(fmt.Sprintf(`"value":%q`, long(2001))) + "]", want: "must be less than 2001"},
		"action ID too long": {blocks: "[" + actionsJSON(fmt.Sprintf(`"action_id":%q`, long(256))) + "]", want: "must be less than 256"},
		"style":              {blocks: "[" + actionsJSON(`"style":"default"`) + "]", want: "must be one of primary, danger; not default"},
		"action ID twice": {
			blocks: list("actions", "elements", `{"type":"button","action_id":"a","text":{"type":"plain_text","text":"OK"}}`, 2),
			want:   "action_id already exists: a [json-pointer:/blocks/0/elements/1/action_id]"},
		"action ID in two blocks": {blocks: blocksOf(2, actionsJSON(`"action_id":"a"`))},
		"block ID too long":       {blocks: fmt.Sprintf(`[{"type":"divider","block_id":%q}]`, long(256)), want: "must be less than 256"},
		"block ID twice":          {blocks: blocksOf(2, `{"type":"divider","block_id":"b"}`), want: "block_id already exists: b [json-pointer:/blocks/1/block_id]"},
		"confirm":                 {blocks: "[" + confirmJSON(long(100), long(300), long(30)) + "]"},
		"confirm title":           {blocks: "[" + confirmJSON(long(101), "x", "x") + "]", want: "must be less than 101"},
		"confirm text":            {blocks: "[" + confirmJSON("x", long(301), "x") + "]", want: "must be less than 301"},
		"confirm button":          {blocks: "[" + confirmJSON("x", "x", long(31)) + "]", want: "must be less than 31"},
		"confirm without text":    {blocks: "[" + actionsJSON(`"confirm":{}`) + "]", want: "missing required field"},
		"image without alt_text":  {blocks: `[{"type":"image","image_url":"http://x"}]`, want: "must be more than 0 characters [json-pointer:/blocks/0/alt_text]"},
		"most text":               {blocks: "[" + strings.Repeat(sectionJSON(3000)+",", 4) + sectionJSON(1200) + "]"},
		"too much text":           {blocks: "[" + strings.Repeat(sectionJSON(3000)+",", 4) + sectionJSON(1201) + "]", want: "msg_blocks_too_long"},
		"metadata":                {text: "x", metadata: `{"event_type":"a-b_1","event_payload":{}}`},
		"metadata not JSON":       {text: "x", metadata: `nonsense`, want: "invalid_metadata_format"},
		"metadata with a dot":     {text: "x", metadata: `{"event_type":"a.b","event_payload":{}}`, want: "invalid_metadata_schema"},
		"metadata, no payload":    {text: "x", metadata: `{"event_type":"a"}`, want: "invalid_metadata_schema"},
		"metadata, and more":      {text: "x", metadata: `{"event_type":"a","event_payload":{},"more":1}`, want: "invalid_metadata_schema"},
		"metadata too large": {
			text: "x", metadata: fmt.Sprintf(`{"event_type":"a","event_payload":{"x":%q}}`, long(8000)), want: "metadata_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &call{args: map[string]string{"text": test.text, "blocks": test.blocks, "metadata": test.metadata}}
			_, err := c.content()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestRefusedCalls(t *testing.T) {
	s, ctx := start(t, Options{})
	person := s.Post(ctx, "U1", "C1", "mine")
	secret := s.Post(ctx, "U1", "G2", "secret")
	for _, test := range []struct{ method, args, want string }{
		{"chat.postMessage", "channel=C9&text=x", "channel_not_found"},
		{"chat.postMessage", "channel=C2&text=x", "not_in_channel"},
		{"chat.postMessage", "channel=G2&text=x", "channel_not_found"},
		{"chat.postMessage", "text=x", "invalid_arguments"},
		{"chat.postMessage", "channel=C1&text=x&attachments=[]", "invalid_arguments"},
		{"chat.postMessage", "channel=C1&text=x&thread_ts=1.000000", "invalid_thread_ts"},
		{"chat.update", "channel=C1&text=x&ts=1.000000", "message_not_found"},
		{"chat.update", "channel=C1&text=x&ts=" + person, "cant_update_message"},
		{"chat.delete", "channel=C1&ts=" + person, "cant_delete_message"},
		{"chat.postEphemeral", "channel=C1&text=x&user=U9", "user_not_in_channel"},
		{"chat.postEphemeral", "channel=C1&text=x&user=U4", "user_not_in_channel"},
		{"chat.getPermalink", "channel=C1&message_ts=1.000000", "message_not_found"},
		{"reactions.add", "channel=C1&timestamp=1.000000&name=x", "message_not_found"},
		{"reactions.get", "channel=G2&timestamp=" + secret, "channel_not_found"},
		{"conversations.history", "channel=C2", "not_in_channel"},
		{"conversations.history", "channel=C1&limit=1000", "invalid_limit"},
		{"conversations.history", "channel=C1&cursor=x", "invalid_cursor"},
		{"conversations.replies", "channel=C1&ts=1.000000", "thread_not_found"},
	} {
		if got := callMethod(ctx, t, s, test.method, test.args); got != test.want {
			t.Errorf("%s %s: %q, want %q", test.method, test.args, got, test.want)
		}
	}
	if got := len(s.Unknown()); got != 5 { // those with bad arguments
		t.Errorf("%d complaints: %v", got, s.Unknown())
	}
}

func TestRefusalDetailsReachTheClient(t *testing.T) {
	s, ctx := start(t, Options{})
	_, _, err := client(s).PostMessageContext(ctx, "C1", slack.MsgOptionBlocks(section("")))
	refused, ok := errors.AsType[slack.SlackErrorResponse](err)
	if !ok || refused.Err != "invalid_blocks" || len(refused.ResponseMetadata.Messages) != 1 ||
		!strings.Contains(refused.ResponseMetadata.Messages[0], "[json-pointer:/blocks/0/text/text]") {
		t.Errorf("refused with %#v", err)
	}
	if got := s.Unknown(); len(got) != 1 || !strings.HasPrefix(got[0], "chat.postMessage: invalid_blocks: must be more than 0") {
		t.Errorf("complaints: %v", got)
	}
	if len(s.Messages("C1")) != 0 {
		t.Error("posted all the same")
	}
}

func TestScopes(t *testing.T) {
	s, ctx := start(t, Options{Scopes: []string{"channels:history", "channels:read"}})
	ts := s.Post(ctx, "U1", "C1", "x")
	for method, args := range map[string]string{
		"chat.postMessage": "", "chat.update": "", "reactions.add": "", "reactions.get": "", "users.info": "", "usergroups.users.list": "",
		"conversations.history": "channel=G1", "conversations.info": "channel=G1",
	} {
		if got := callMethod(ctx, t, s, method, args); got != "missing_scope" {
			t.Errorf("%s: %q", method, got)
		}
	}
	if got := callMethod(ctx, t, s, "conversations.history", "channel=C1"); got != "" {
		t.Errorf("history: %q", got)
	}
	if err := s.Command(ctx, "U1", "C1", "/upgrade"); err == nil || !strings.Contains(err.Error(), "not a valid command") {
		t.Errorf("command: %v", err)
	}
	if err := s.React(ctx, "U1", "C1", ts, "x"); err != nil || len(s.Deliveries()) != 0 {
		t.Errorf("reaction: %v, %v", err, s.Deliveries())
	}
}

func TestTokenInForm(t *testing.T) {
	s, ctx := start(t, Options{})
	values := url.Values{"channel": {"C1"}, "text": {"x"}, "token": {"xoxb-wrong"}}
	if got := callMethod(ctx, t, s, "chat.postMessage", values.Encode()); got != "invalid_auth" {
		t.Errorf("wrong token: %q", got)
	}
}
