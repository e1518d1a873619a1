//! The cheapest assignment: endpoints of regions to the nodes of regions, within their capacity.
//!
//! Endpoints of one region are alike, and so are nodes of one region: the transportation problem is as small as the
//! round-trip matrix. Solved exactly by shortest augmenting ways (Busacker and Gowen 1960), in whole numbers.

/// How many of each supply go to each place, at the least cost in all; `None` if there is not enough room.
pub(super) fn cheapest(supply: &[u64], room: &[u64], cost: &[Vec<u64>]) -> Option<Vec<Vec<u64>>> {
    let (mut left, mut free) = (supply.to_vec(), room.to_vec());
    let mut flow = vec![vec![0; room.len()]; supply.len()];
    while left.iter().any(|left| *left > 0) {
        let ways = Ways::find(&left, &flow, cost);
        let ends = (0..free.len()).filter(|to| free[*to] > 0 && ways.to[*to].is_some());
        let end = ends.min_by_key(|to| ways.to[*to])?;
        let way = ways.back(end);
        let (start, _, _) = *way.last()?;
        // Each step takes its own flow up; what was sent from there before goes down.
        let undone = way.iter().filter_map(|(from, _, undo)| undo.map(|to| flow[*from][to]));
        let amount = undone.chain([left[start], free[end]]).min()?;
        for (from, to, undo) in way {
            flow[from][to] += amount;
            if let Some(undo) = undo {
                flow[from][undo] -= amount;
            }
        }
        left[start] -= amount;
        free[end] -= amount;
    }
    Some(flow)
}

/// Shortest ways over what is left to send and what can be undone.
struct Ways {
    /// To each place: the cost, and from which supply.
    to: Vec<Option<(i64, usize)>>,
    /// To each supply: the cost, and the place from which it is called back; `None` there if it has some left.
    from: Vec<Option<(i64, Option<usize>)>>,
}

impl Ways {
    /// Bellman and Ford: costs of what is undone are negative, cycles never are.
    fn find(left: &[u64], flow: &[Vec<u64>], cost: &[Vec<u64>]) -> Ways {
        let places = flow.first().map_or(0, Vec::len);
        let from = left.iter().map(|left| (*left > 0).then_some((0, None))).collect();
        let mut ways = Ways { to: vec![None; places], from };
        loop {
            let mut changed = false;
            for (from, costs) in cost.iter().enumerate() {
                for (to, cost) in costs.iter().enumerate() {
                    let cost = *cost as i64;
                    if let Some((before, _)) = ways.from[from]
                        && ways.to[to].is_none_or(|(best, _)| before + cost < best)
                    {
                        ways.to[to] = Some((before + cost, from));
                        changed = true;
                    }
                    if flow[from][to] > 0
                        && let Some((before, _)) = ways.to[to]
                        && ways.from[from].is_none_or(|(best, _)| before - cost < best)
                    {
                        ways.from[from] = Some((before - cost, Some(to)));
                        changed = true;
                    }
                }
            }
            if !changed {
                return ways;
            }
        }
    }

    /// The steps to a place, last first: from, to, and the place whose flow is undone.
    fn back(&self, end: usize) -> Vec<(usize, usize, Option<usize>)> {
        let mut way = Vec::new();
        let mut next = Some(end);
        while let Some(to) = next
            && let Some((_, from)) = self.to[to]
        {
            next = self.from[from].and_then(|(_, undo)| undo);
            way.push((from, to, next));
        }
        way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    fn total(flow: &[Vec<u64>], cost: &[Vec<u64>]) -> u64 {
        flow.iter().flatten().zip(cost.iter().flatten()).map(|(flow, cost)| flow * cost).sum()
    }

    /// Each endpoint in turn goes everywhere.
    fn brute(left: &mut Vec<u64>, room: &mut Vec<u64>, cost: &[Vec<u64>]) -> Option<u64> {
        let Some(from) = left.iter().position(|left| *left > 0) else { return Some(0) };
        left[from] -= 1;
        let mut best = None;
        for to in 0..room.len() {
            if room[to] > 0 {
                room[to] -= 1;
                let rest = brute(left, room, cost).map(|rest| rest + cost[from][to]);
                best = best.into_iter().chain(rest).min();
                room[to] += 1;
            }
        }
        left[from] += 1;
        best
    }

    #[test]
    fn it_is_what_trying_everything_finds() {
        let mut random = Random::stream(1, "flow", 0);
        let mut solved = 0;
        for _ in 0..300 {
            let (n, m) = (random.range(1, 4) as usize, random.range(1, 4) as usize);
            let mut supply: Vec<u64> = (0..n).map(|_| random.range(0, 4)).collect();
            let mut room: Vec<u64> = (0..m).map(|_| random.range(0, 4)).collect();
            let cost: Vec<Vec<u64>> = (0..n).map(|_| (0..m).map(|_| random.range(1, 20)).collect()).collect();
            let found = cheapest(&supply, &room, &cost);
            assert_eq!(
                found.as_ref().map(|flow| total(flow, &cost)),
                brute(&mut supply, &mut room, &cost),
                "{supply:?} {room:?} {cost:?}"
            );
            let Some(flow) = found else { continue };
            solved += 1;
            for (row, supply) in flow.iter().zip(&supply) {
                assert_eq!(row.iter().sum::<u64>(), *supply);
            }
            for (to, room) in room.iter().enumerate() {
                assert!(flow.iter().map(|row| row[to]).sum::<u64>() <= *room);
            }
        }
        assert!(solved > 50);
    }
}
