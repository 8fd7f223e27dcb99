//! A cluster in memory: one State, one Control, a log that keeps what it is given, fake agents and a clock
//! that only moves when told to.

use std::{collections::BTreeMap, time::Duration};

use controller_core::{
    Command, ContainerSpec, Control, Event, Ids, Input, Node, NodeDescription, NodeId, Refusal, Resources,
    Role, Service, ServiceSpec, State, TaskStatus, Timestamp, apply,
};

use crate::agent::{Agent, Behaviour};

/// What every node of these tests has.
pub(crate) const NODE: Resources = Resources { nano_cpus: 4_000_000_000, memory_bytes: 1 << 30, pids: 0 };
/// One turn of the cluster.
pub(crate) const TURN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) state: State,
    pub(crate) control: Control,
    pub(crate) ids: Ids,
    pub(crate) now: Timestamp,
    pub(crate) agents: BTreeMap<NodeId, Agent>,
    pub(crate) images: BTreeMap<String, Behaviour>,
    /// Everything that was proposed by Control, in order.
    pub(crate) log: Vec<Command>,
    /// Whether proposals get lost instead of being applied.
    pub(crate) deaf: bool,
    /// Whether Control is told what was applied.
    pub(crate) told: bool,
}

/// A service of `replicas` plain tasks that reserve `memory` bytes each.
pub(crate) fn spec(name: &str, replicas: u32, memory: u64) -> ServiceSpec {
    let reservations = Resources { memory_bytes: memory, ..Resources::default() };
    let container = ContainerSpec { image: "good".into(), reservations, ..ContainerSpec::default() };
    ServiceSpec { name: name.into(), replicas, container, ..ServiceSpec::default() }
}

impl Cluster {
    /// `nodes` nodes n1, n2 ..., all registered and connected.
    pub(crate) fn new(nodes: usize) -> Self {
        let mut cluster = Self::empty();
        for number in 1..=nodes {
            cluster.join(&format!("n{number}"), NODE);
        }
        cluster
    }

    pub(crate) fn empty() -> Self {
        let mut cluster = Self {
            state: State::new(),
            control: Control::new(),
            ids: Ids::new(1),
            now: Timestamp(0),
            agents: BTreeMap::new(),
            images: BTreeMap::new(),
            log: Vec::new(),
            deaf: false,
            told: true,
        };
        let cluster_id = cluster.ids.cluster();
        cluster.apply(&Command::Bootstrap { cluster_id, root_der: vec![1], at: cluster.now });
        let token = ("secret".to_owned(), Timestamp(u64::MAX));
        let (hash, expires) = token;
        cluster.apply(&Command::CreateToken { hash, role: Role::Agent, expires, at: cluster.now });
        cluster.input(Input::BecameLeader);
        cluster
    }

    pub(crate) fn join(&mut self, name: &str, capacity: Resources) -> NodeId {
        self.join_with(name, NodeDescription { capacity, os: "linux".into(), ..NodeDescription::default() })
    }

    pub(crate) fn join_with(&mut self, name: &str, description: NodeDescription) -> NodeId {
        let (id, at) = (self.ids.node(), self.now);
        self.apply(&Command::AdmitNode { id, name: name.into(), token_hash: "secret".into(), at });
        self.apply(&Command::RegisterNode { id, description, at });
        self.agents.insert(id, Agent::connected());
        self.input(Input::Connected { node: id });
        id
    }

    /// Applies a command of a person or the dispatcher.
    pub(crate) fn apply(&mut self, command: &Command) -> Vec<Event> {
        // Every command goes through its stored form, as it would through the log.
        let stored = serde_json::to_string(command).expect("commands can be stored");
        let command = serde_json::from_str(&stored).expect("stored commands can be read");
        let events = apply(&mut self.state, &command);
        assert_eq!(self.state.check(), [], "after {command:?}");
        events
    }

    /// Applies a command that must not be refused.
    pub(crate) fn must(&mut self, command: &Command) {
        if let [Event::Refused(refusal), ..] = self.apply(command).as_slice() {
            panic!("refused: {refusal}");
        }
    }

    pub(crate) fn refused(&mut self, command: &Command) -> Refusal {
        match self.apply(command).as_slice() {
            [Event::Refused(refusal)] => refusal.clone(),
            events => panic!("not refused: {events:?}"),
        }
    }

    pub(crate) fn create(&mut self, spec: ServiceSpec) {
        let (id, at) = (self.ids.service(), self.now);
        self.must(&Command::CreateService { id, spec, trace: None, at });
    }

    pub(crate) fn service(&self, name: &str) -> &Service {
        self.state.service_by_name(name).expect("the test made this service")
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.state.node_by_name(name).expect("the test made this node")
    }

    pub(crate) fn update(&mut self, name: &str, change: impl FnOnce(&mut ServiceSpec)) {
        let service = self.service(name);
        let (id, version, mut spec, at) = (service.id, service.version, service.spec.clone(), self.now);
        change(&mut spec);
        self.must(&Command::UpdateService { id, version, spec, trace: None, at });
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let (id, at) = (self.service(name).id, self.now);
        self.must(&Command::RemoveService { id, at });
    }

    /// Gives Control one input, and carries out its proposals until it has no more. Returns the entries made.
    pub(crate) fn input(&mut self, input: Input) -> usize {
        let before = self.log.len();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let commands = self.control.step(&self.state, input, self.now, &mut self.ids);
            for command in commands {
                self.log.push(command.clone());
                if !self.deaf {
                    self.apply(&command);
                    inputs.push(if self.told { Input::Changed } else { Input::Tick });
                }
            }
        }
        self.log.len() - before
    }

    /// One turn: agents take their assignments, move their tasks, and report; time passes.
    pub(crate) fn turn(&mut self) -> usize {
        let mut entries = 0;
        let nodes: Vec<NodeId> = self.agents.keys().copied().collect();
        for node in nodes {
            let Some(agent) = self.agents.get_mut(&node).filter(|agent| agent.connected) else { continue };
            agent.receive(&self.state, &node);
            let images = &self.images;
            let statuses: Vec<TaskStatus> =
                agent.turn(|image| images.get(image).copied().unwrap_or(Behaviour::Run));
            entries += self.input(Input::Heartbeat { node });
            if !statuses.is_empty() {
                entries += self.input(Input::Report { node, statuses });
            }
        }
        self.now = self.now.plus(TURN);
        entries + self.input(Input::Tick)
    }

    /// Lets a stretch of time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.now < end {
            self.turn();
        }
    }

    /// Lets the cluster come to rest: no entry for long enough that no deadline is near.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..20_000 {
            quiet = if self.turn() == 0 { quiet + 1 } else { 0 };
            if quiet > 320 {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// How many tasks of a service run.
    pub(crate) fn running(&self, name: &str) -> usize {
        let running = controller_core::TaskState::Running;
        let id = self.service(name).id;
        self.state.tasks_of_service(&id).filter(|task| task.is_wanted() && task.state == running).count()
    }

    /// Another controller leads; the agents find it and begin new sessions.
    pub(crate) fn change_leader(&mut self) {
        self.control = Control::new();
        self.input(Input::BecameLeader);
        self.agents.values_mut().for_each(|agent| agent.fresh = true);
    }

    /// Connects or disconnects the agent of a node.
    pub(crate) fn connect(&mut self, name: &str, connected: bool) {
        let id = self.node(name).id;
        let agent = self.agents.get_mut(&id).expect("every node of the tests has an agent");
        agent.connected = connected;
        agent.fresh = true;
        self.input(if connected { Input::Connected { node: id } } else { Input::Disconnected { node: id } });
    }
}
