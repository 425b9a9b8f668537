package slackemu

import (
	"regexp"
	"strings"
)

var (
	angled   = regexp.MustCompile(`<([^<>\n]+)>`)
	shortcut = regexp.MustCompile(`:([a-z0-9_+-]+)(?:::skin-tone-([2-6]))?:`)
)

// read is the text as a person reads it.
func (t text) read(names map[string]string) string {
	if t.Type == "plain_text" {
		return unescape(drawEmoji(t.Text))
	}
	return resolve(t.Text, names)
}

// resolve shows links and mentions in mrkdwn as Slack does: by text and by name. Marks such as * and ` stay.
func resolve(mrkdwn string, names map[string]string) string {
	shown := angled.ReplaceAllStringFunc(drawEmoji(mrkdwn), func(s string) string {
		target, label, labelled := strings.Cut(s[1:len(s)-1], "|")
		switch {
		case strings.HasPrefix(target, "!date^") && labelled:
			return label
		case strings.HasPrefix(target, "@"), strings.HasPrefix(target, "#"):
			return mention(target[1:], target, label, names)
		case strings.HasPrefix(target, "!subteam^"):
			return mention(strings.TrimPrefix(target, "!subteam^"), "@"+strings.TrimPrefix(target, "!subteam^"), label, names)
		case strings.HasPrefix(target, "!"):
			return "@" + target[1:]
		case labelled:
			return label
		}
		return target
	})
	return unescape(shown)
}

func mention(id, fallback, label string, names map[string]string) string {
	if name, ok := names[id]; ok {
		return name
	}
	if label != "" {
		return label
	}
	return fallback
}

// unescape knows the three entities that Slack has.
func unescape(s string) string {
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(s)
}

func drawEmoji(s string) string {
	if !strings.Contains(s, ":") {
		return s
	}
	known := emoji()
	return shortcut.ReplaceAllStringFunc(s, func(code string) string {
		name, tone, _ := strings.Cut(strings.Trim(code, ":"), "::")
		drawn, ok := known[name]
		if !ok {
			return code
		}
		return drawn + skin(tone)
	})
}

// drawReaction is a reaction's picture, or its name when it is not one that the bot's users would choose.
func drawReaction(name string) string {
	base, tone, _ := strings.Cut(name, "::")
	drawn, ok := emoji()[base]
	if !ok {
		return ":" + name + ":"
	}
	return drawn + skin(tone)
}

func skin(tone string) string {
	tones := map[string]string{
		"skin-tone-2": "\U0001F3FB", "skin-tone-3": "\U0001F3FC", "skin-tone-4": "\U0001F3FD",
		"skin-tone-5": "\U0001F3FE", "skin-tone-6": "\U0001F3FF",
	}
	return tones[tone]
}

func emoji() map[string]string {
	return map[string]string{
		"white_check_mark": "✅", "heavy_check_mark": "✔", "ballot_box_with_check": "☑", "x": "❌", "no_entry": "⛔",
		"no_entry_sign": "🚫", "negative_squared_cross_mark": "❎", "octagonal_sign": "🛑", "warning": "⚠️",
		"rotating_light": "🚨", "fire": "🔥", "boom": "💥", "skull": "💀", "construction": "🚧",
		"+1": "👍", "thumbsup": "👍", "-1": "👎", "thumbsdown": "👎", "ok_hand": "👌", "wave": "👋", "pray": "🙏", "hand": "✋",
		"raised_hand": "✋", "clap": "👏", "eyes": "👀", "thinking_face": "🤔", "tada": "🎉", "rocket": "🚀", "sparkles": "✨",
		"hourglass": "⌛", "hourglass_flowing_sand": "⏳", "stopwatch": "⏱", "alarm_clock": "⏰", "clock1": "🕐", "zzz": "💤",
		"arrow_right": "➡️", "arrow_up": "⬆️", "arrow_down": "⬇️", "arrows_counterclockwise": "🔄", "repeat": "🔁",
		"arrow_forward": "▶️", "fast_forward": "⏩", "double_vertical_bar": "⏸", "black_square_for_stop": "⏹",
		"large_green_circle": "🟢", "large_yellow_circle": "🟡", "large_orange_circle": "🟠", "red_circle": "🔴",
		"large_blue_circle": "🔵", "white_circle": "⚪", "black_circle": "⚫", "white_large_square": "⬜", "large_green_square": "🟩",
		"large_red_square": "🟥", "information_source": "ℹ️", "question": "❓", "exclamation": "❗", "bell": "🔔", "lock": "🔒",
		"unlock": "🔓", "mag": "🔍", "memo": "📝", "link": "🔗", "package": "📦", "wrench": "🔧", "gear": "⚙️", "wastebasket": "🗑",
		"bar_chart": "📊", "speech_balloon": "💬", "robot_face": "🤖", "whale": "🐳", "wheel_of_dharma": "☸", "heart": "❤️",
	}
}
