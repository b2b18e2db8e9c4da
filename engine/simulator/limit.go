package simulator

import "time"

// slidingWindow counts the cost of requests within a period.
type slidingWindow struct {
	at   []int64
	cost []int
	sum  int
}

// slack forgives a client that keeps to a limit exactly, as it sees it: its
// requests take a little while to arrive.
const slack = 300 * time.Millisecond

// allow counts a request against a limit; a refused one counts too, as at
// Microsoft.
func (s *Simulator) allow(budget string, cost, limit int, per time.Duration) bool {
	now := s.now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.limits[budget]
	if w == nil {
		w = &slidingWindow{}
		s.limits[budget] = w
	}
	oldest := now - int64(per-min(slack, per*3/10))
	for len(w.at) > 0 && w.at[0] <= oldest {
		w.sum -= w.cost[0]
		w.at, w.cost = w.at[1:], w.cost[1:]
	}
	w.at, w.cost, w.sum = append(w.at, now), append(w.cost, cost), w.sum+cost
	if w.sum <= limit {
		return true
	}
	if len(w.at) > 4*limit+100 { // a client gone wild does not fill our memory
		w.sum -= w.cost[0]
		w.at, w.cost = w.at[1:], w.cost[1:]
	}
	if !s.opts.Throttle {
		s.count("over-limit." + budget)
	}
	return false
}
