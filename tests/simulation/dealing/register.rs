//! Who gets a session, worked out anew: the rules by which the thread deals, over sources and not over slots.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::plan::Fate;
use super::record::Unit;
use super::sight::Sight;
use super::world::World;

/// How long no session is begun for a socket after one could not be connected.
const PAUSE: u64 = 100;

/// How long nothing must have moved in a session that makes room.
const IDLE: u64 = 200;

/// What is to happen while a batch is dealt.
#[derive(Debug)]
pub enum Step {
    /// This session ends to make room.
    MakesRoom(usize),
    /// A source gets a session, for these datagrams.
    Begins { source: usize, fate: Fate, units: Vec<Unit> },
}

/// What the thread knows of its sources.
#[derive(Debug)]
pub struct Register {
    /// The session of each source that has one.
    pub of: BTreeMap<usize, usize>,
    /// The sessions, that of the latest use last.
    uses: Vec<usize>,
    paused: Vec<u64>,
    pub closed: bool,
    pub most_sources: usize,
    /// How many sessions there may be, and how many others have.
    pub most: usize,
    pub others: usize,
    pub lost: u64,
}

impl Register {
    pub fn new(doors: usize, most_sources: usize, most: usize) -> Register {
        Register {
            of: BTreeMap::new(),
            uses: Vec::new(),
            paused: vec![0; doors],
            closed: false,
            most_sources,
            most,
            others: 0,
            lost: 0,
        }
    }

    pub fn has_room(&self, living: usize) -> bool {
        living + self.others < self.most
    }

    /// Something moved in a session.
    pub fn touch(&mut self, id: usize) {
        self.uses.retain(|&other| other != id);
        self.uses.push(id);
    }

    pub fn begin(&mut self, source: usize, id: usize) {
        assert_eq!(self.of.insert(source, id), None, "a source gets a second session");
        self.touch(id);
    }

    pub fn end(&mut self, source: usize, id: usize) {
        assert_eq!(self.of.remove(&source), Some(id), "a session ends that its source does not have");
        self.uses.retain(|&other| other != id);
    }

    /// A session of this socket could not be connected.
    pub fn pause(&mut self, door: usize, now: u64) {
        self.paused[door] = now + PAUSE;
    }

    /// What is to happen when these datagrams have come. Those for sessions that live are expected there.
    pub fn predict(&mut self, world: &mut World, door: usize, units: &[Unit]) -> VecDeque<Step> {
        let mut batch: BTreeSet<usize> = BTreeSet::new();
        let oldest = self.uses.first().copied();
        for unit in units {
            if let Some(&id) = self.of.get(&unit.source) {
                self.touch(id);
                batch.insert(id);
                world.records[id].expect(*unit);
                world.see(Sight::Known);
            }
        }
        let mut forecast = Forecast {
            steps: VecDeque::new(),
            gone: BTreeSet::new(),
            begun: BTreeMap::new(),
            living: self.of.len(),
            spared: oldest,
        };
        for unit in units {
            if !self.of.contains_key(&unit.source) {
                self.predict_new(world, door, unit, &batch, &mut forecast);
            }
        }
        forecast.steps
    }

    fn predict_new(
        &mut self,
        world: &mut World,
        door: usize,
        unit: &Unit,
        batch: &BTreeSet<usize>,
        forecast: &mut Forecast,
    ) {
        if let Some(&step) = forecast.begun.get(&unit.source) {
            if let Step::Begins { units, .. } = &mut forecast.steps[step] {
                units.push(*unit);
            }
            return;
        }
        if !self.may_begin(world, door) || !self.has_room_for(world, batch, forecast) {
            self.lost += 1;
            return;
        }
        let fate = world.draw_fate(door);
        if fate.fails_at_once() {
            self.pause(door, world.now);
            self.lost += 1;
        } else {
            forecast.living += 1;
            forecast.begun.insert(unit.source, forecast.steps.len());
        }
        let units = if fate.fails_at_once() { Vec::new() } else { vec![*unit] };
        world.see(Sight::New);
        forecast.steps.push_back(Step::Begins { source: unit.source, fate, units });
    }

    fn may_begin(&self, world: &mut World, door: usize) -> bool {
        let sight = match () {
            () if !world.doors[door].open => Sight::DoorClosed,
            () if self.closed => Sight::ThreadClosed,
            () if world.now < self.paused[door] => Sight::Paused,
            () if self.paused[door] > 0 => Sight::AfterPause,
            () => return true,
        };
        world.see(sight);
        sight == Sight::AfterPause
    }

    fn has_room_for(&self, world: &mut World, batch: &BTreeSet<usize>, forecast: &mut Forecast) -> bool {
        let too_many = forecast.living >= self.most_sources;
        if !too_many && self.has_room(forecast.living) {
            return true;
        }
        // Those that begin with this batch are the latest, and it goes to them.
        let oldest = self.uses.iter().copied().find(|id| !forecast.gone.contains(id));
        let Some(oldest) = oldest.filter(|id| !batch.contains(id)) else {
            world.see(Sight::NoRoomTaken);
            return false;
        };
        match world.records[oldest].last_moved {
            Some(moved) if moved + IDLE > world.now => {
                world.see(Sight::NoRoomMoved);
                return false;
            }
            Some(_) => {}
            None => world.see(Sight::MadeRoomConnecting),
        }
        if forecast.spared.is_some_and(|id| batch.contains(&id)) {
            world.see(Sight::SparedForLater);
        }
        world.see(if too_many { Sight::MadeRoom } else { Sight::MadeRoomForOthers });
        if !forecast.gone.is_empty() {
            world.see(Sight::MadeRoomTwice);
        }
        forecast.gone.insert(oldest);
        forecast.living -= 1;
        forecast.steps.push_back(Step::MakesRoom(oldest));
        true
    }
}

/// What is known to happen so far.
#[derive(Debug)]
struct Forecast {
    steps: VecDeque<Step>,
    /// Sessions that make room.
    gone: BTreeSet<usize>,
    /// Sources that get a session, and in which step.
    begun: BTreeMap<usize, usize>,
    living: usize,
    /// The session that had been idle for longest when the batch came.
    spared: Option<usize>,
}
