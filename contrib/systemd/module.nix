# A NixOS module: services.mcpd. The same service as mcpd.service beside it. NixOS also declares the user, its
# subordinate ids, lingering, and podman.
#
#     imports = [ ./mcp/contrib/systemd/module.nix ];
#     services.mcpd = { enable = true; package = mcp; };   # a derivation with bin/mcpd, of this repository
#
# Then, once: runuser -u mcp -- mcpd init /srv/mcp --node NAME --address IP:PORT
{ config, lib, pkgs, ... }:

let
  cfg = config.services.mcpd;
  home = "/srv/mcp";
  mcpd = "${cfg.package}/bin/mcpd";
  configFile = "${home}/mcpd.toml";
in
{
  options.services.mcpd = {
    enable = lib.mkEnableOption "mcpd, which keeps this node's containers running as declared";
    package = lib.mkOption {
      type = lib.types.package;
      description = "What has bin/mcpd.";
    };
    uid = lib.mkOption {
      type = lib.types.ints.between 1 999;
      default = 964;
      description = "The number of the user mcp. Fixed, since the unit has to name /run/user/UID.";
    };
    subIdStart = lib.mkOption {
      type = lib.types.ints.positive;
      default = 100000;
      description = "The first of its 65536 subordinate user and group ids, which must be nobody else's (audit S4).";
    };
    keep = lib.mkOption {
      type = lib.types.ints.positive;
      default = 14;
      description = "As many nightly snapshots of the registry are kept.";
    };
  };

  config = lib.mkIf cfg.enable {
    virtualisation.podman.enable = true;
    # A system user cannot read the journal unless it may read all of it, and mcpd depends on podman's events.
    virtualisation.containers.containersConf.settings.engine.events_logger = "file";

    users.groups.mcp.gid = cfg.uid;
    users.users.mcp = {
      isSystemUser = true;
      inherit (cfg) uid;
      group = "mcp";
      inherit home;
      # Starts the user's systemd manager, which has the containers' cgroups, at boot.
      linger = true;
      subUidRanges = [ { startUid = cfg.subIdStart; count = 65536; } ];
      subGidRanges = [ { startGid = cfg.subIdStart; count = 65536; } ];
    };

    # The user mcp owns /srv, because mcpd creates /srv/SERVICE for each deployed service (audit S6).
    systemd.tmpfiles.rules = [
      "d /srv 0755 mcp mcp -"
      "d ${home} 0750 mcp mcp -"
    ];

    environment.systemPackages = [ cfg.package ];

    # mcpd.service explains every line.
    systemd.services.mcpd = {
      description = "Metacircular Control Plane: keeps this node's containers running as declared";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" "user@${toString cfg.uid}.service" ];
      after = [ "network-online.target" "user@${toString cfg.uid}.service" ];
      unitConfig = {
        RequiresMountsFor = home;
        ConditionPathExists = configFile;
        StartLimitIntervalSec = 0;
      };
      # newuidmap and newgidmap are setuid programs, which NixOS keeps in /run/wrappers; util-linux has setpriv.
      path = [ "/run/wrappers" config.virtualisation.podman.package pkgs.util-linux pkgs.coreutils ];
      environment = {
        XDG_RUNTIME_DIR = "/run/user/${toString cfg.uid}";
        PYTHONFAULTHANDLER = "1";
      };
      # A rebuild that changes mcpd restarts it; containers keep running.
      serviceConfig = {
        Type = "notify";
        ExecStart = "${mcpd} serve --config ${configFile}";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        User = "mcp";
        WorkingDirectory = home;
        UMask = "0077";
        WatchdogSec = "30s";
        TimeoutStartSec = "2min";
        TimeoutStopSec = "75s";
        Restart = "on-failure";
        RestartSec = "3s";
        # NixOS has had systemd 254 since 23.11.
        RestartSteps = 5;
        RestartMaxDelaySec = "60s";
        KillMode = "process";
        OOMPolicy = "continue";
        LimitNOFILE = "8192:524288";
        LimitCORE = 0;
        CapabilityBoundingSet = [ "CAP_SETUID" "CAP_SETGID" "CAP_DAC_OVERRIDE" "CAP_SYS_ADMIN" ];
        ProtectSystem = "full";
        KeyringMode = "private";
      };
    };

    systemd.services.mcpd-backup = {
      description = "Snapshot of mcpd's registry";
      unitConfig = {
        RequiresMountsFor = home;
        ConditionPathExists = "${home}/mcp.db";
      };
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${mcpd} snapshot --keep ${toString cfg.keep} --verify --config ${configFile}";
        User = "mcp";
        UMask = "0077";
        Nice = 10;
        CapabilityBoundingSet = "";
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateNetwork = true;
        PrivateTmp = true;
        ProtectHome = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectSystem = "strict";
        ReadWritePaths = home;
        RestrictAddressFamilies = "none";
        RestrictNamespaces = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@privileged @resources" ];
      };
    };

    systemd.timers.mcpd-backup = {
      description = "Snapshot of mcpd's registry, every night";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = "*-*-* 02:00:00 UTC";
        RandomizedDelaySec = "5min";
        Persistent = true;
      };
    };
  };
}
