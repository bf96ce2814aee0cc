package repo

import (
	"regexp"
	"strings"

	"golang.org/x/mod/semver"
)

// Unreleased stands in the heading of a section of the change log for a date.
const Unreleased = "unreleased"

// A Section is what the change log says of one version.
type Section struct {
	Version string // "v0.1.0"
	Date    string // or Unreleased
	Heading string
	Text    string // below the heading
}

var heading = regexp.MustCompile(`(?m)^## \[([^\]]+)\] - (.+)$`)

// Sections returns the sections of a change log, the newest first.
func Sections(text string) []Section {
	found := heading.FindAllStringSubmatchIndex(text, -1)
	var all []Section
	for i, f := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		all = append(all, Section{
			Version: "v" + text[f[2]:f[3]],
			Date:    strings.TrimSpace(text[f[4]:f[5]]),
			Heading: text[f[0]:f[1]],
			Text:    text[f[1]:end],
		})
	}
	return all
}

// Below returns the text of the section below one of its headings of the third level.
func (s Section) Below(title string) string {
	_, text, _ := strings.Cut(s.Text, "\n### "+title+"\n")
	text, _, _ = strings.Cut(text, "\n### ")
	return text
}

// MayBreak reports whether the version after may have an API that programs for the
// version before do not compile with: another major version, or, as long as that
// is 0, another minor one.
func MayBreak(before, after string) bool {
	if semver.Major(before) == "v0" && semver.Major(after) == "v0" {
		return semver.Compare(semver.MajorMinor(before), semver.MajorMinor(after)) < 0
	}
	return semver.Compare(semver.Major(before), semver.Major(after)) < 0
}
