# SPDX-License-Identifier: MIT
"""What ATT&CK calls its techniques, as far as rules for Linux name them.

ATT&CK is a registered trademark of The MITRE Corporation. (c) The MITRE Corporation.
The names are reproduced and distributed with the permission of The MITRE Corporation.
"""

from __future__ import annotations

_TABLE = """
T1001 Data Obfuscation
T1003 OS Credential Dumping
T1003.007 Proc Filesystem
T1003.008 /etc/passwd and /etc/shadow
T1005 Data from Local System
T1007 System Service Discovery
T1008 Fallback Channels
T1010 Application Window Discovery
T1011 Exfiltration Over Other Network Medium
T1012 Query Registry
T1014 Rootkit
T1016 System Network Configuration Discovery
T1016.001 Internet Connection Discovery
T1018 Remote System Discovery
T1020 Automated Exfiltration
T1021 Remote Services
T1021.004 SSH
T1021.005 VNC
T1027 Obfuscated Files or Information
T1027.001 Binary Padding
T1027.002 Software Packing
T1027.003 Steganography
T1027.004 Compile After Delivery
T1027.010 Command Obfuscation
T1027.013 Encrypted/Encoded File
T1029 Scheduled Transfer
T1030 Data Transfer Size Limits
T1033 System Owner/User Discovery
T1036 Masquerading
T1036.003 Rename Legitimate Utilities
T1036.004 Masquerade Task or Service
T1036.005 Match Legitimate Resource Name or Location
T1036.006 Space after Filename
T1037 Boot or Logon Initialization Scripts
T1037.004 RC Scripts
T1039 Data from Network Shared Drive
T1040 Network Sniffing
T1041 Exfiltration Over C2 Channel
T1046 Network Service Discovery
T1048 Exfiltration Over Alternative Protocol
T1048.001 Exfiltration Over Symmetric Encrypted Non-C2 Protocol
T1048.002 Exfiltration Over Asymmetric Encrypted Non-C2 Protocol
T1048.003 Exfiltration Over Unencrypted Non-C2 Protocol
T1049 System Network Connections Discovery
T1052 Exfiltration Over Physical Medium
T1053 Scheduled Task/Job
T1053.002 At
T1053.003 Cron
T1053.006 Systemd Timers
T1055 Process Injection
T1055.008 Ptrace System Calls
T1055.009 Proc Memory
T1055.012 Process Hollowing
T1055.014 VDSO Hijacking
T1056 Input Capture
T1056.001 Keylogging
T1056.003 Web Portal Capture
T1057 Process Discovery
T1059 Command and Scripting Interpreter
T1059.004 Unix Shell
T1059.006 Python
T1059.007 JavaScript
T1059.011 Lua
T1068 Exploitation for Privilege Escalation
T1069 Permission Groups Discovery
T1069.001 Local Groups
T1069.002 Domain Groups
T1070 Indicator Removal
T1070.002 Clear Linux or Mac System Logs
T1070.003 Clear Command History
T1070.004 File Deletion
T1070.006 Timestomp
T1071 Application Layer Protocol
T1071.001 Web Protocols
T1071.004 DNS
T1072 Software Deployment Tools
T1074 Data Staged
T1074.001 Local Data Staging
T1078 Valid Accounts
T1078.003 Local Accounts
T1082 System Information Discovery
T1083 File and Directory Discovery
T1087 Account Discovery
T1087.001 Local Account
T1087.002 Domain Account
T1090 Proxy
T1090.003 Multi-hop Proxy
T1092 Communication Through Removable Media
T1095 Non-Application Layer Protocol
T1098 Account Manipulation
T1098.004 SSH Authorized Keys
T1098.007 Additional Local or Domain Groups
T1102 Web Service
T1105 Ingress Tool Transfer
T1106 Native API
T1110 Brute Force
T1110.001 Password Guessing
T1110.002 Password Cracking
T1113 Screen Capture
T1115 Clipboard Data
T1119 Automated Collection
T1120 Peripheral Device Discovery
T1123 Audio Capture
T1124 System Time Discovery
T1125 Video Capture
T1132 Data Encoding
T1132.001 Standard Encoding
T1133 External Remote Services
T1134 Access Token Manipulation
T1135 Network Share Discovery
T1136 Create Account
T1136.001 Local Account
T1140 Deobfuscate/Decode Files or Information
T1176 Software Extensions
T1189 Drive-by Compromise
T1190 Exploit Public-Facing Application
T1195 Supply Chain Compromise
T1195.001 Compromise Software Dependencies and Development Tools
T1195.002 Compromise Software Supply Chain
T1200 Hardware Additions
T1201 Password Policy Discovery
T1202 Indirect Command Execution
T1203 Exploitation for Client Execution
T1204 User Execution
T1204.002 Malicious File
T1205 Traffic Signaling
T1205.001 Port Knocking
T1205.002 Socket Filters
T1210 Exploitation of Remote Services
T1211 Exploitation for Defense Evasion
T1212 Exploitation for Credential Access
T1217 Browser Information Discovery
T1218 System Binary Proxy Execution
T1219 Remote Access Tools
T1222 File and Directory Permissions Modification
T1222.002 Linux and Mac File and Directory Permissions Modification
T1480 Execution Guardrails
T1485 Data Destruction
T1486 Data Encrypted for Impact
T1489 Service Stop
T1490 Inhibit System Recovery
T1491 Defacement
T1495 Firmware Corruption
T1496 Resource Hijacking
T1497 Virtualization/Sandbox Evasion
T1497.001 System Checks
T1498 Network Denial of Service
T1499 Endpoint Denial of Service
T1505 Server Software Component
T1505.003 Web Shell
T1518 Software Discovery
T1518.001 Security Software Discovery
T1529 System Shutdown/Reboot
T1531 Account Access Removal
T1542 Pre-OS Boot
T1543 Create or Modify System Process
T1543.002 Systemd Service
T1546 Event Triggered Execution
T1546.004 Unix Shell Configuration Modification
T1546.005 Trap
T1546.016 Installer Packages
T1546.018 Python Startup Hooks
T1547 Boot or Logon Autostart Execution
T1547.006 Kernel Modules and Extensions
T1547.013 XDG Autostart Entries
T1548 Abuse Elevation Control Mechanism
T1548.001 Setuid and Setgid
T1548.003 Sudo and Sudo Caching
T1552 Unsecured Credentials
T1552.001 Credentials In Files
T1552.003 Shell History
T1552.004 Private Keys
T1552.007 Container API
T1553 Subvert Trust Controls
T1553.004 Install Root Certificate
T1554 Compromise Host Software Binary
T1555 Credentials from Password Stores
T1556 Modify Authentication Process
T1556.003 Pluggable Authentication Modules
T1557 Adversary-in-the-Middle
T1560 Archive Collected Data
T1560.001 Archive via Utility
T1561 Disk Wipe
T1561.001 Disk Content Wipe
T1561.002 Disk Structure Wipe
T1562 Impair Defenses
T1562.001 Disable or Modify Tools
T1562.003 Impair Command History Logging
T1562.004 Disable or Modify System Firewall
T1562.006 Indicator Blocking
T1562.012 Disable or Modify Linux Audit System
T1563 Remote Service Session Hijacking
T1564 Hide Artifacts
T1564.001 Hidden Files and Directories
T1564.002 Hidden Users
T1564.013 Bind Mounts
T1565 Data Manipulation
T1565.001 Stored Data Manipulation
T1567 Exfiltration Over Web Service
T1567.002 Exfiltration to Cloud Storage
T1568 Dynamic Resolution
T1568.002 Domain Generation Algorithms
T1569 System Services
T1569.002 Service Execution
T1569.003 Systemctl
T1570 Lateral Tool Transfer
T1571 Non-Standard Port
T1572 Protocol Tunneling
T1573 Encrypted Channel
T1574 Hijack Execution Flow
T1574.006 Dynamic Linker Hijacking
T1574.007 Path Interception by PATH Environment Variable
T1580 Cloud Infrastructure Discovery
T1583 Acquire Infrastructure
T1587 Develop Capabilities
T1587.001 Malware
T1588 Obtain Capabilities
T1590 Gather Victim Network Information
T1592 Gather Victim Host Information
T1592.004 Client Configurations
T1595 Active Scanning
T1601 Modify System Image
T1602 Data from Configuration Repository
T1609 Container Administration Command
T1610 Deploy Container
T1611 Escape to Host
T1612 Build Image on Host
T1613 Container and Resource Discovery
T1614 System Location Discovery
T1615 Group Policy Discovery
T1620 Reflective Code Loading
T1622 Debugger Evasion
T1653 Power Settings
"""

#: Names by the id of a technique.
TECHNIQUES: dict[str, str] = dict(
    line.split(" ", 1) for line in _TABLE.strip().splitlines()
)
