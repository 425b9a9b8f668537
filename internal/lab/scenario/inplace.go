package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protojson"
)

// settings: "settings POOL REGEXP" demands that how GKE upgrades a pool and drains its nodes matches, as JSON.
func settings(ts *testscript.TestScript, neg bool, args []string) {
	bed := Of(ts).Bed
	pool, err := bed.Cloud.GetNodePool(context.Background(), &containerpb.GetNodePoolRequest{Name: poolPath(bed, args[0])})
	ts.Check(err)
	data, err := protojson.Marshal(&containerpb.NodePool{UpgradeSettings: pool.GetUpgradeSettings(), NodeDrainConfig: pool.GetNodeDrainConfig()})
	ts.Check(err)
	var compact bytes.Buffer // protojson varies its spaces on purpose
	ts.Check(json.Compact(&compact, data))
	if regexp.MustCompile(args[1]).Match(compact.Bytes()) == neg {
		ts.Fatalf("pool %s is upgraded with %s", args[0], compact.Bytes())
	}
}
