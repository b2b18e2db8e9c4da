package load

// openCollector makes a collector's destination: POST to the URL exactly as it was
// given, with no Authorization.
func openCollector(config Config) (Destination, error) {
	target, err := parseURL(config.URL)
	if err != nil {
		return nil, err
	}
	config.Token = nil
	w := newWeb(config, target)
	w.deniedAdvice = "A collector takes events without credentials: check S60_COLLECTOR_BASE and what stands in front of the collector"
	w.addressAdvice = "Check S60_COLLECTOR_BASE, its path too, and that the collector runs there"
	w.movedAdvice = "Set S60_COLLECTOR_BASE to the address that answers without a redirect"
	return w, nil
}
