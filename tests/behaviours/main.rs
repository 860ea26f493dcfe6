//! End-to-end tests, one file a behaviour. Each proves a claim about Drayage from outside, with
//! real servers; what a unit test can hold is not here.

mod admission;
mod apart;
mod certificates;
mod clients;
mod crashes;
mod credentials;
mod database;
mod drill;
mod explaining;
mod faults;
mod fencing;
mod image;
mod installation;
mod intruders;
mod manifests;
mod metrics;
mod monitoring;
mod outage;
mod outages;
mod processes;
mod progress;
mod publishing;
mod pull_secrets;
mod pushing;
mod registries;
mod routing;
mod strays;
mod upgrade;
mod workloads;
