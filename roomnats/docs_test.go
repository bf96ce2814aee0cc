package roomnats_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/roomnats"
)

// TestDocsPermissions: docs/operation.md lists what Permissions returns.
func TestDocsPermissions(t *testing.T) {
	t.Parallel()
	publish, subscribe, err := roomnats.Permissions()
	require.NoError(t, err)
	text, err := os.ReadFile("../docs/operation.md")
	require.NoError(t, err)
	require.Contains(t, string(text), "publishes to\n\n```\n"+strings.Join(publish, "\n")+"\n```\n")
	require.Contains(t, string(text), "and subscribes to `"+strings.Join(subscribe, "`, `")+"`")
}
