package upgrade

// What a provider tells of the project that a cluster is in.
const (
	ReadProviderPermissions Source = "own permissions at the provider"
	ReadQuotas              Source = "the region's quotas"
)

// ProviderPermission is something that an upgrade has to be allowed to do by the provider.
type ProviderPermission struct {
	// Name is the provider's: "container.clusters.update".
	Name    string
	Allowed bool
	// Why says what it is needed for, as the end of a sentence: "to make and delete node pools".
	Why string
}

// Quota is how much of something the provider lets the project have in the cluster's region.
type Quota struct {
	// Metric is the provider's name of what is counted: "N2_CPUS".
	Metric      string
	Limit, Used float64
}
