//go:build tools

// What `make test-gateway` builds and runs. go.mod pins the versions.
package tools

import (
	_ "github.com/envoyproxy/gateway/cmd/egctl"
	_ "github.com/envoyproxy/gateway/cmd/envoy-gateway"
	_ "github.com/google/go-containerregistry/cmd/crane"
)
